"""Group events by their masked text.

Promises: `template_id` depends on the template's text and the masks alone (at `off` on the event's position too); every
event belongs to one template. What a template hides of an event is found again by `slots`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import polars as pl

from triage.columns import EVENTS
from triage.condense.mask import VERSION
from triage.condense.passes import masked

Level = Literal["standard", "exact", "off"]

_SAID = ("template_id", "template_rows", "template_hosts", "template_first", "template_last")


def condense(events: pl.DataFrame, level: Level) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(`events` with what is said of their template, `templates`: one row each with `template_id`, `template`).

    `events` needs `message` (String, no nulls); `host`, `timestamp` and `position` count where they are there. Added
    are `template_id`, and over the events of `events` that share it: `template_rows`, `template_hosts` (how many,
    nulls not counted), `template_first` and `template_last` (earliest and latest timestamp, or null).

    At `exact` a template is the message itself; at `off` it is too, and no two events share one.
    """
    if level == "off":
        return _each_alone(events)
    text = events["message"]
    facts = events.select(
        (masked(text) if level == "standard" else text).alias("template"), _of(events, "host"), _of(events, "timestamp")
    )
    said = facts.group_by("template", maintain_order=True).agg(
        template_rows=pl.len().cast(pl.Int64),
        # Counting in groups costs as much as all else here, and many shards have no hosts.
        template_hosts=(pl.col("host").drop_nulls().n_unique() if facts["host"].count() else pl.lit(0)).cast(pl.Int64),
        template_first=pl.col("timestamp").min(),
        template_last=pl.col("timestamp").max(),
    )
    ids = pl.Series("template_id", [template_id(text, level) for text in said["template"]], dtype=pl.String)
    said = said.with_columns(ids).select("template", *_SAID)
    shared = facts.select("template").join(said, on="template", how="left", maintain_order="left")
    return events.with_columns(shared.select(_SAID)), said.select("template_id", "template")


def _each_alone(events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    positions = events["position"] if "position" in events.columns else range(events.height)
    ids = [template_id(text, "off", at) for text, at in zip(events["message"], positions, strict=True)]
    host, time = _of(events, "host"), _of(events, "timestamp")
    events = events.with_columns(
        pl.Series("template_id", ids, dtype=pl.String),
        template_rows=pl.lit(1, pl.Int64),
        template_hosts=host.is_not_null().cast(pl.Int64),
        template_first=time,
        template_last=time,
    )
    return events, events.select("template_id", template="message")


def _of(events: pl.DataFrame, column: str) -> pl.Expr:
    """`column`, or nulls where `events` does not have it."""
    return pl.col(column) if column in events.columns else pl.lit(None, EVENTS[column]).alias(column)


def template_id(template: str, level: Level, position: int | None = None) -> str:
    """32 hex digits that name a template's text under the masks, and the event's position where it has only one."""
    place = "" if position is None else f" {position}"
    return hashlib.blake2b(f"{VERSION} {level}{place}\0{template}".encode(), digest_size=16).hexdigest()
