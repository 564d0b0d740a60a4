"""Apply all rules of a job to a slice's events: the TOML rules in one pass of polars, the Sigma rules by log source.

Promises: every event gets one outcome; what a rule raises no other rule lowers. Drops nothing: it only marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from triage.columns import LABELS, SOURCE
from triage.prefilter.plain import with_plain
from triage.prefilter.rules import INJECTION_TAG, Rule, sources
from triage.prefilter.sigma import HITS, Ruleset

NOISE, RULED, ASKED, CORRECTED = "noise", "ruled", "asked", "corrected"


class Settling(Protocol):
    """What sifting and verdicts need of a rule, from TOML or from Sigma. At most one of `settle` and `raise_`."""

    @property
    def id(self) -> str: ...
    @property
    def settle(self) -> str | None: ...
    @property
    def raise_(self) -> str | None: ...
    @property
    def severity(self) -> str | None: ...
    @property
    def category(self) -> str | None: ...
    @property
    def because(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...


def sift(events: pl.DataFrame, rules: Sequence[Rule], sigma: Ruleset | None = None) -> pl.DataFrame:
    """`events`, without the shard's own columns, with what the rules say of each:

    outcome              noise (settled as benign), ruled (settled as review or escalate), asked, or corrected (it has
                         a `correction`, which stands above rules)
    floor                rank in LABELS below which the verdict may not fall; 0 where no rule raised it
    rule_ids             the rules that hit, the deciding one first
    tags                 theirs
    injection_suspected  a rule with the tag `prompt-injection` hit

    The highest label among the rules that hit decides. A rule that raises wins over one that settles as benign.
    """
    found = [hits(events, rules)]
    events = events.drop(name for name in events.columns if name.startswith(SOURCE))
    every: list[Settling] = [*rules]
    if sigma is not None and sigma.rules:
        found.append(sigma.hits(events).with_columns(pl.col("rule") + len(rules)))
        every += sigma.rules
    said = (
        pl.concat(found)
        .join(_facts(every), on="rule")
        .sort("row", "order")
        .group_by("row", maintain_order=True)
        .agg(
            pl.col("settle").max(),
            pl.max_horizontal("settle", "floor").max().alias("floor"),
            pl.col("rule_id").alias("rule_ids"),
            pl.col("tags").list.explode().drop_nulls().unique(maintain_order=True),
        )
    )
    settle, floor = pl.col("settle"), pl.col("floor")
    empty = pl.lit([], pl.List(pl.String))
    if "correction" not in events.columns:
        events = events.with_columns(correction=pl.lit(None, pl.String))
    return (
        events.with_row_index("row")
        .join(said, on="row", how="left", maintain_order="left")
        .with_columns(floor.fill_null(0), pl.col("rule_ids", "tags").fill_null(empty))
        .with_columns(
            outcome=pl.when(pl.col("correction").is_not_null())
            .then(pl.lit(CORRECTED))
            .when(settle > 0)
            .then(pl.lit(RULED))
            .when((settle == 0) & (floor == 0))
            .then(pl.lit(NOISE))
            .otherwise(pl.lit(ASKED)),
            injection_suspected=pl.col("tags").list.contains(INJECTION_TAG),
        )
        .drop("row", "settle")
    )


def hits(events: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """(row, index in `rules`) of every hit, from one pass over the events. Of the shard's own columns that the rules
    read, those that `events` does not have are missing in every event."""
    missing = [SOURCE + name for name in sources(rules) if SOURCE + name not in events.columns]
    # Lazily, for polars then computes what rules share, such as a column in lower case, once. It does not where a
    # function of ours is asked, so windows come after all that they count.
    numbered = [(f"rule {number}", rule) for number, rule in enumerate(rules)]
    plains = dict.fromkeys(column for rule in rules for column in rule.when.plains)
    marks = (
        events.lazy()
        .with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
        .pipe(with_plain, plains)
        .with_columns(rule.when.expression().alias(name) for name, rule in numbered)
        .select(rule.counted(pl.col(name)) for name, rule in numbered)
        .collect()
    )
    rows = [(number, met.arg_true()) for number, met in enumerate(marks)]
    return pl.concat(
        [
            pl.DataFrame(schema=HITS),
            *(pl.DataFrame({"row": at, "rule": [number] * len(at)}, schema=HITS) for number, at in rows if len(at)),
        ]
    )


def _facts(rules: Sequence[Settling]) -> pl.DataFrame:
    """What each rule gives to the events it hits; `order`: the deciding one first, of one rank the first written."""
    ranked = sorted(range(len(rules)), key=lambda number: _rank(rules[number]), reverse=True)
    order = {number: place for place, number in enumerate(ranked)}
    return pl.DataFrame(
        {
            "rule": list(range(len(rules))),
            "order": [order[number] for number in range(len(rules))],
            "settle": [LABELS.index(rule.settle) if rule.settle else None for rule in rules],
            "floor": [LABELS.index(rule.raise_) if rule.raise_ else None for rule in rules],
            "rule_id": [rule.id for rule in rules],
            "tags": [list(rule.tags) for rule in rules],
        },
        schema={
            "rule": pl.UInt32,
            "order": pl.UInt32,
            "settle": pl.Int8,
            "floor": pl.Int8,
            "rule_id": pl.String,
            "tags": pl.List(pl.String),
        },
    )


def _rank(rule: Settling) -> int:
    """The label that the rule gives; marks after all of them."""
    label = rule.settle or rule.raise_
    return LABELS.index(label) if label else -1
