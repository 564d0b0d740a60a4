"""Two OUTPUTs over the same lines: where they differ, and whether one of them is better.

Lines are paired on `event_id`, else on `shard` and `position`, else the k-th event of a message with the k-th of the
same message. Evidence is exact: McNemar's test (1947) as a two-sided binomial test of the lines that only one of the
two has right; and the difference of ROC areas with an interval by a paired bootstrap over templates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from triage.columns import DISPOSITIONS
from triage.evaluate import metrics
from triage.evaluate.bootstrap import intervals
from triage.evaluate.figures import Document, with_interval
from triage.evaluate.join import ABOUT, Joined
from triage.evaluate.labels import Labels
from triage.evaluate.metrics import Floats, ranked
from triage.evaluate.scores import SCORED, SETTLED, scored

SIDES: Final = ("a", "b")
_WORST: Final = {"benign": 0, "undecided": 1, "review": 2, "escalate": 3}
_SAID: Final = (*SCORED, "p_benign")


@dataclass(frozen=True)
class Pairs:
    """`lines` has one row a line: ABOUT (from A where it has the line), and SCORED and `p_benign` of both runs, ending
    in `_a` and `_b`. `only_a` and `only_b` lines have a verdict in one run alone; where `as_settled`, they are in
    `lines`, as settled benign in the other."""

    lines: pl.DataFrame
    on: str
    only_a: int
    only_b: int
    as_settled_a: bool  # lines without a verdict in A
    as_settled_b: bool


def pair(a: pl.LazyFrame, b: pl.LazyFrame, *, rows_settled_a: int, rows_settled_b: int) -> Pairs:
    """The verdicts of two runs side by side. A line with a verdict in one run alone counts as settled benign in the
    other where that run settled at least as many rows; else it is left out."""
    of_a, of_b = _read(a), _read(b)
    for key in (["event_id"], ["shard", "position"], ["message", "nth"]):
        shared = of_a.join(of_b, on=key, how="semi").height
        if shared or key[0] == "message":
            break
    only_a, only_b = of_a.height - shared, of_b.height - shared
    as_settled_a, as_settled_b = 0 < only_b <= rows_settled_a, 0 < only_a <= rows_settled_b
    lines = of_a.join(of_b, on=key, how="full", suffix="_of_b", coalesce=True, maintain_order="left_right")
    in_a, in_b = pl.col("disposition").is_not_null(), pl.col("disposition_of_b").is_not_null()
    lines = lines.filter((in_a & in_b) | (in_a & pl.lit(as_settled_b)) | (in_b & pl.lit(as_settled_a)))
    about = {
        name: pl.coalesce(name, f"{name}_of_b") if f"{name}_of_b" in lines.columns else pl.col(name) for name in ABOUT
    }
    said = {f"{name}_a": _or_settled(pl.col(name), name, in_a) for name in _SAID}
    said |= {f"{name}_b": _or_settled(pl.col(f"{name}_of_b"), name, in_b) for name in _SAID}
    on = " and ".join(name for name in key if name != "nth")
    return Pairs(lines.select(**about, **said), on, only_a, only_b, as_settled_a, as_settled_b)


def _read(verdicts: pl.LazyFrame) -> pl.DataFrame:
    read = scored(verdicts).select(*ABOUT, *_SAID).sort("shard", "position").collect()
    return read.with_columns(nth=pl.int_range(pl.len()).over("message"))


def _or_settled(column: pl.Expr, name: str, there: pl.Expr) -> pl.Expr:
    return pl.when(there).then(column).otherwise(pl.lit(SETTLED.get(name)))


def settled_in_both() -> dict[str, object]:
    """What a labelled line without a verdict in either run counts as."""
    return {f"{name}_{side}": SETTLED.get(name) for name in _SAID for side in SIDES}


def agreement(pairs: Pairs, *, limit: int, with_lines: bool = True) -> Document:
    """How many verdicts are the same, which changed, and whether one run shows more than the other."""
    lines = pairs.lines
    changed = lines.filter(pl.col("disposition_a") != pl.col("disposition_b"))
    counted = {(a, b): n for a, b, n in lines.group_by("disposition_a", "disposition_b").len().iter_rows()}
    shift = (lines["p_benign_a"] - lines["p_benign_b"]).abs().mean()
    return {
        "joined_on": pairs.on,
        "lines": lines.height,
        "templates": lines["template_id"].n_unique(),
        "only_a": pairs.only_a,
        "only_b": pairs.only_b,
        "settled_in_a": pairs.only_b if pairs.as_settled_a else 0,
        "settled_in_b": pairs.only_a if pairs.as_settled_b else 0,
        "same": lines.height - changed.height,
        "changed_lines": changed.height,
        "changed_templates": changed["template_id"].n_unique(),
        "dispositions": {a: {b: counted.get((a, b), 0) for b in DISPOSITIONS} for a in DISPOSITIONS},
        "mean_abs_change_p_benign": shift,
        "changed": _changed(changed, limit, with_lines),
        "shown": {
            "lines": _only(lines, "shown_a", "shown_b"),
            "templates": _only(_templates(lines), "shown_a", "shown_b"),
        },
    }


def _changed(changed: pl.DataFrame, limit: int, with_lines: bool) -> list[dict[str, Any]]:
    """One row a template and change: those that one run alone would have an analyst act on first, then the largest."""
    ranks = [pl.col(f"disposition_{side}").replace_strict(_WORST, return_dtype=pl.Int64) for side in SIDES]
    return (
        changed.group_by("template_id", "disposition_a", "disposition_b")
        .agg(
            pl.len().alias("rows"),
            pl.col("score_a", "score_b").mean(),
            pl.col("event_id", "message").sort_by("event_id").first(),
        )
        .sort(
            -pl.max_horizontal(ranks),
            -(ranks[0] - ranks[1]).abs(),
            -pl.col("rows").cast(pl.Int64),
            "template_id",
            "disposition_a",
        )
        .head(limit)
        .select(
            "disposition_a", "disposition_b", "rows", "score_a", "score_b", "template_id", "event_id",
            *(["message"] if with_lines else []),
        )
        .to_dicts()
    )  # fmt: skip


def against(labels: Labels, joined: Joined, *, resamples: int, seed: int) -> Document:
    """Which of two runs is right more often, and which ranks better. `joined` are lines of `pair` with their truth."""
    lines = joined.lines
    right = {
        f"{kind}_{side}": expression
        for side in SIDES
        for kind, expression in (
            ("seen", pl.col(f"shown_{side}") == (pl.col("truth") > 0)),
            ("exact", pl.col(f"rank_{side}") == pl.col("truth")),
        )
    }
    ranks = {"benign": 0, "review": 1, "escalate": 2, "undecided": -1}

    def judged(some: pl.DataFrame) -> pl.DataFrame:
        return some.with_columns(
            pl.col(f"disposition_{side}").replace_strict(ranks, return_dtype=pl.Int64).alias(f"rank_{side}")
            for side in SIDES
        ).with_columns(**right)

    by = {"lines": judged(lines), "templates": judged(_templates(lines))}
    kinds = ("seen", "exact") if len(labels.classes) > 2 else ("seen",)
    return {
        "truth_column": labels.truth_column,
        "joined_on": joined.on,
        "labelled": labels.labelled,
        "no_truth": labels.no_truth,
        "ambiguous": labels.ambiguous,
        "conflicting": joined.conflicting,
        "not_found": joined.not_found,
        "not_found_as_settled": joined.settled,
        "resamples": resamples,
        "seed": seed,
        "correct": {
            kind: {name: {"n": some.height} | _only(some, f"{kind}_a", f"{kind}_b") for name, some in by.items()}
            for kind in kinds
        },
        "roc_area": {
            "lines": roc_difference(lines, resamples=resamples, seed=seed),
            "templates": roc_difference(by["templates"], resamples=resamples, seed=seed),
        },
    }


def _templates(lines: pl.DataFrame) -> pl.DataFrame:
    """One row a template, as `figures.templates_of` has it, for both runs."""

    def worst(side: str) -> pl.Expr:
        said = pl.col(f"disposition_{side}")
        return said.sort_by(said.replace_strict(_WORST, return_dtype=pl.Int64)).last()

    return lines.group_by("template_id", maintain_order=True).agg(
        *([pl.col("truth").max()] if "truth" in lines.columns else []),
        *(worst(side) for side in SIDES),
        pl.col("shown_a", "shown_b").any(),
        pl.col("score_a", "score_b").mean(),
    )


def _only(lines: pl.DataFrame, a: str, b: str) -> Document:
    """How many rows have `a` or `b`, both or one alone, and McNemar's exact p."""
    only_a, only_b = int((lines[a] & ~lines[b]).sum()), int((lines[b] & ~lines[a]).sum())
    return {
        "a": int(lines[a].sum()),
        "b": int(lines[b].sum()),
        "only_a": only_a,
        "only_b": only_b,
        "p": mcnemar(only_a, only_b),
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """The chance of a split at least as uneven, were each as likely to be right where they differ."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def roc_difference(lines: pl.DataFrame, *, resamples: int, seed: int) -> Document:
    """The ROC areas of `score_a` and `score_b` on the same lines and how much the first is above the second, with an
    interval: both are resampled together."""
    cells = lines.group_by("template_id", "truth", "score_a", "score_b", maintain_order=True).len()
    template = (cells["template_id"].rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.intp)
    count = cells["len"].to_numpy().astype(np.float64)
    real = cells["truth"].to_numpy() > 0
    scores = {side: cells[f"score_{side}"].to_numpy().astype(np.float64) for side in SIDES}

    def areas(weights: Floats) -> dict[str, Floats]:
        found = {side: metrics.roc_area(ranked(score, real, weights)) for side, score in scores.items()}
        return found | {"difference": found["a"] - found["b"]}

    values = areas(count[None, :])
    ranges = intervals(template, count, areas, resamples=resamples, seed=seed)
    return {name: with_interval(float(value[0]), ranges[name]) for name, value in values.items()}
