"""Apply all rules of a job to a slice's events in one pass of polars.

Promises: every event gets one outcome; what a rule raises no other rule lowers. Drops nothing: it only marks.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from triage.columns import LABELS
from triage.prefilter.rules import INJECTION_TAG, Rule

NOISE, RULED, ASKED = "noise", "ruled", "asked"


def sift(events: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """`events` with what the rules say of each:

    outcome              noise (settled as benign), ruled (settled as review or escalate) or asked
    floor                rank in LABELS below which the verdict may not fall; 0 where no rule raised it
    rule_ids             the rules that hit, the deciding one first
    tags                 theirs
    injection_suspected  a rule with the tag `prompt-injection` hit

    The highest label among the rules that hit decides. A rule that raises wins over one that settles as benign.
    """
    order = sorted(rules, key=_rank, reverse=True)  # stable: the first rule of a rank decides
    settled = [(rule, LABELS.index(rule.settle)) for rule in order if rule.settle]
    raised = [(rule, LABELS.index(rule.raise_)) for rule in order if rule.raise_]
    hits = {rule.id: f"hit {rule.id}" for rule in order}

    def highest(ranked: list[tuple[Rule, int]]) -> pl.Expr:
        none = pl.lit(None, pl.Int8)
        return pl.max_horizontal(none, *(pl.when(hits[r.id]).then(pl.lit(rank, pl.Int8)) for r, rank in ranked))

    def lists(pairs: list[tuple[str, str]]) -> pl.Expr:
        none = pl.lit(None, pl.String)
        words = [pl.when(hits[rule_id]).then(pl.lit(word)) for rule_id, word in pairs]
        return pl.concat_list(none, *words).list.drop_nulls().list.unique(maintain_order=True)

    settle, floor = pl.col("settle"), pl.col("floor")
    return (
        events.with_columns(rule.expression.alias(hits[rule.id]) for rule in order)
        .with_columns(
            settle=highest(settled),
            floor=highest([*settled, *raised]).fill_null(0),
            rule_ids=lists([(rule.id, rule.id) for rule in order]),
            tags=lists([(rule.id, tag) for rule in order for tag in rule.tags]),
        )
        .with_columns(
            outcome=pl.when(settle > 0)
            .then(pl.lit(RULED))
            .when((settle == 0) & (floor == 0))
            .then(pl.lit(NOISE))
            .otherwise(pl.lit(ASKED)),
            injection_suspected=pl.col("tags").list.contains(INJECTION_TAG),
        )
        .drop("settle", *hits.values())
    )


def _rank(rule: Rule) -> int:
    """The label that the rule gives; marks after all of them."""
    label = rule.settle or rule.raise_
    return LABELS.index(label) if label else -1
