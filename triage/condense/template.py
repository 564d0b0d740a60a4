"""Group events by their masked text.

Promises: `template_id` depends on the template's text and the masks' version alone; every event belongs to one
template. Evidence found in a template is found again in each of its events, in that event's own words.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import polars as pl

from triage.condense.mask import PLACEHOLDER, STANDS_FOR, VERSION, masked

Level = Literal["standard", "exact", "off"]


def condense(events: pl.DataFrame, level: Level) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(`events` with `template_id` and `template_rows`, `templates`: one row each with `template_id`, `template`).

    `events` needs `message` (String, no nulls). At `exact` a template is the message itself.
    """
    text = pl.col("message")
    events = events.with_columns(template=masked(text) if level == "standard" else text)
    templates = events.select("template").unique(maintain_order=True)
    templates = templates.with_columns(
        template_id=pl.Series([template_id(text, level) for text in templates["template"]], dtype=pl.String)
    )
    events = events.join(templates, on="template", how="left", maintain_order="left").with_columns(
        template_rows=pl.len().over("template_id").cast(pl.Int64),
        template_hosts=pl.col("host").drop_nulls().n_unique().over("template_id").cast(pl.Int64),
        template_first=pl.col("timestamp").min().over("template_id"),
        template_last=pl.col("timestamp").max().over("template_id"),
    )
    return events.drop("template"), templates


def template_id(template: str, level: Level) -> str:
    """32 hex digits that name a template's text under a version of the masks."""
    return hashlib.blake2b(f"{VERSION} {level}\0{template}".encode(), digest_size=16).hexdigest()


def found_in(words: str, message: str) -> str | None:
    """The words of `message` that `words` (from its template, placeholders included) stands for; None where
    they are not in it. White space at the ends does not count."""
    words = words.strip()
    if not words:
        return None
    if words in message:
        return words
    parts = re.split(f"({PLACEHOLDER})", words)
    if not any(part.strip() for part in parts[::2]):
        return None
    # Atomic, so that no line of many placeholders makes the search slow.
    pattern = "".join(f"(?>{STANDS_FOR[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    match = re.search(pattern, message)
    return match.group(0) if match else None
