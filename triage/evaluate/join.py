"""Ground truth beside verdicts: one row a line, `lines`, as `figures` reads it.

Labels are joined by the first key that their file has: `event_id`, `shard` and `position`, or the exact `message`.

Duplicates: a message that several events share is one labelled message, and each of its verdicts is a line with that
truth. Labelled lines with the same key and the same truth are one (the first one's groups stand); where they
contradict one another, all of them are left out and counted as `conflicting`.

Lines that a rule settled as benign leave no verdict. Where the run settled any, a labelled line that is not found
counts as benign and not shown, with score 0; else it is left out. Either way it is counted. With `shard` and
`position` only lines of shards that the run read count so. A message of which some events were settled and others
have verdicts counts by its verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import polars as pl

from triage.errors import WrongInput
from triage.evaluate.labels import BY, Labels
from triage.evaluate.scores import SCORED, SETTLED, scored

TemplateIds = Callable[[pl.Series], pl.Series]
"""Messages -> the ids of their templates."""

ABOUT: Final = {
    "event_id": pl.String(),
    "shard": pl.String(),
    "position": pl.Int64(),
    "host": pl.String(),
    "message": pl.String(),
    "template_id": pl.String(),
    "decided_by": pl.String(),
}
"""The columns of `lines` that say which line it is."""


@dataclass(frozen=True)
class Joined:
    """`lines` with ABOUT, `truth`, SCORED (or what else a caller's verdicts have) and the groups after BY."""

    lines: pl.DataFrame
    on: str
    conflicting: int  # labelled lines
    not_found: int  # labelled lines
    settled: int  # of them, counted as benign and not shown


def join(
    labels: Labels,
    verdicts: pl.LazyFrame,
    *,
    rows_settled: int,
    shards: Collection[str],
    template_ids: TemplateIds,
) -> Joined:
    """The truth of `labels` beside `verdicts`. `shards` are those that the run read. Raises WrongInput where a shard
    has two meanings, and where nothing is found."""
    said = scored(verdicts).select(*ABOUT, *SCORED)
    return joined(labels, said, SETTLED if rows_settled else None, shards, template_ids)


def joined(
    labels: Labels,
    said: pl.LazyFrame,
    settled_as: dict[str, object] | None,
    shards: Collection[str],
    template_ids: TemplateIds,
) -> Joined:
    """`join` for any columns `said` beside ABOUT: `settled_as` gives them for lines without a verdict; None leaves
    those lines out."""
    key = list(labels.key)
    labelled = labels.lines
    if "shard" in key:
        labelled = _with_whole_names(labelled, shards)
    labelled = labelled.with_columns(contradicted=pl.col("truth").n_unique().over(key) > 1)
    agreed = labelled.filter(~pl.col("contradicted"))
    groups = [column for column in labelled.columns if column.startswith(BY)]
    once = agreed.unique(key, keep="first", maintain_order=True).select(*key, "truth", *groups)
    found = said.join(once.lazy(), on=key, how="inner").sort("shard", "position", "event_id").collect()
    missing = agreed.join(found.select(key).unique(), on=key, how="anti", maintain_order="left")
    # A line of a shard that the run did not read was not settled by it.
    mine = missing.filter(pl.col("shard").is_in(list(shards))) if "shard" in key else missing
    settled = mine if settled_as is not None else mine.clear()
    if found.is_empty() and settled.is_empty():
        raise WrongInput(
            "none of the labelled lines is in the verdicts",
            where=" and ".join(key),
            expected="labels of the lines that the run read",
        )
    lines = found
    if settled_as is not None and settled.height:
        kinds = dict(zip(found.columns, found.dtypes, strict=True))
        rows = settled.with_columns(pl.lit(value).alias(name) for name, value in settled_as.items())
        rows = rows.with_columns(decided_by=pl.lit("rule"), template_id=_templates(settled, template_ids))
        lacking = [name for name in found.columns if name not in rows.columns]
        rows = rows.with_columns(pl.lit(None).alias(name) for name in lacking)
        lines = pl.concat([found, rows.select(pl.col(name).cast(kind) for name, kind in kinds.items())])
    return Joined(
        lines.with_columns(pl.col(name).fill_null("(none)") for name in groups),
        on=" and ".join(key),
        conflicting=int(labelled["contradicted"].sum()),
        not_found=missing.height,
        settled=settled.height,
    )


def _templates(settled: pl.DataFrame, template_ids: TemplateIds) -> pl.Series:
    """Ids of templates; a line whose message the labels do not hold is a template of its own."""
    alone = "labelled line " + settled["at"].cast(pl.String)
    known = settled["message"].is_not_null()
    ids = template_ids(settled["message"].fill_null("")).alias("template_id")
    return ids.zip_with(known, alone)


def _with_whole_names(labelled: pl.DataFrame, shards: Collection[str]) -> pl.DataFrame:
    """The shards of labels, which may leave out the beginning of a path, by the names that the run has for them."""
    whole = {}
    for name in labelled["shard"].unique():
        ends = "/" + name.removeprefix("./").removeprefix("file://").lstrip("/")
        meant = [shard for shard in shards if shard == name] or [s for s in shards if f"/{s}".endswith(ends)]
        if len(meant) > 1:
            raise WrongInput(f"{name} may be {meant[0]} or {meant[1]}", where="shard", expected="more of its path")
        whole[name] = meant[0] if meant else name
    return labelled.with_columns(pl.col("shard").replace(whole))
