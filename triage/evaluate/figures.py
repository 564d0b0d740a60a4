"""How good a set of scored lines is: every figure with its interval, per line and per template.

`lines` has one row a line: `truth` (0 benign; above, an analyst should see it), `template_id`, and the columns of
`scores.SCORED`. Figures are plain values that JSON can hold; one that the lines cannot give is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from triage.columns import DISPOSITIONS
from triage.evaluate import metrics
from triage.evaluate.bootstrap import intervals
from triage.evaluate.metrics import Bools, Floats, Ranked, ranked

BUDGETS: Final = (0.01, 0.05, 0.2)
_CURVE_POINTS: Final = 101
_WORST: Final = ("benign", "undecided", "review", "escalate")  # of a template's dispositions, the last one stands

Document = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """Lines that are alike in all that figures look at, once each with their `count`: copies cost nothing."""

    template: npt.NDArray[np.intp]
    count: Floats
    truth: npt.NDArray[np.intp]
    shown: Bools
    score: Floats
    p_seen: Floats  # NaN where no model spoke
    p_worse: Floats


def templates_of(lines: pl.DataFrame) -> pl.DataFrame:
    """One row a template: the worst truth and disposition of its lines, shown where one of them is, the mean of their
    scores."""
    rank = pl.col("disposition").replace_strict(
        {name: rank for rank, name in enumerate(_WORST)}, return_dtype=pl.UInt32
    )
    return lines.group_by("template_id", maintain_order=True).agg(
        pl.col("truth").max(),
        pl.col("disposition").sort_by(rank).last(),
        pl.col("shown").any(),
        pl.col("score").mean(),
        pl.col("p_seen").mean(),
        pl.col("p_worse").mean(),
    )


def both(lines: pl.DataFrame, classes: Sequence[str], *, resamples: int, seed: int) -> Document:
    """The figures of `lines`, and those of their templates."""
    return {
        "lines": figures(lines, classes, resamples=resamples, seed=seed),
        "templates": figures(templates_of(lines), classes, resamples=resamples, seed=seed),
    }


def figures(lines: pl.DataFrame, classes: Sequence[str], *, resamples: int, seed: int) -> Document:
    """Counts, confusion, and each headline figure as `{"value", "low", "high"}`."""
    cells = cells_of(lines)

    def given(weights: Floats) -> dict[str, Floats]:
        return _figures(cells, weights)

    values = given(cells.count[None, :])
    ranges = intervals(cells.template, cells.count, given, resamples=resamples, seed=seed)
    spoke = int(lines["p_seen"].count())
    return {
        "n": lines.height,
        "truth": {name: int((lines["truth"] == rank).sum()) for rank, name in enumerate(classes)},
        "shown": int(lines["shown"].sum()),
        "model_spoke": spoke,
        "confusion": _confusion(lines, classes),
        **{name: with_interval(float(value[0]), ranges[name]) for name, value in values.items()},
        "reliability": _bins(cells) if spoke else [],
    }


def cells_of(lines: pl.DataFrame) -> Cells:
    alike = ("template_id", "truth", "shown", "score", "p_seen", "p_worse")
    cells = lines.group_by(alike, maintain_order=True).len()
    templates = cells["template_id"].rank("dense").cast(pl.Int64) - 1
    return Cells(
        template=templates.to_numpy().astype(np.intp),
        count=cells["len"].to_numpy().astype(np.float64),
        truth=cells["truth"].to_numpy().astype(np.intp),
        shown=cells["shown"].to_numpy().astype(np.bool_),
        score=cells["score"].to_numpy().astype(np.float64),
        p_seen=cells["p_seen"].cast(pl.Float64).fill_null(math.nan).to_numpy(),
        p_worse=cells["p_worse"].cast(pl.Float64).fill_null(math.nan).to_numpy(),
    )


def _figures(cells: Cells, weights: Floats) -> dict[str, Floats]:
    real = cells.truth > 0
    by_score = ranked(cells.score, real, weights)
    all_real = by_score.real.sum(axis=1)
    real_shown = (weights * (real & cells.shown)).sum(axis=1)
    other_shown = (weights * (~real & cells.shown)).sum(axis=1)
    by_p = _by_probability(cells, weights)
    worse = real & ~np.isnan(cells.p_worse)
    by_worse = ranked(cells.p_worse[worse], cells.truth[worse] > 1, weights[:, worse])
    found = {
        "precision": metrics.precision(real_shown, other_shown),
        "recall": metrics.recall(real_shown, all_real),
        "f1": metrics.f1(real_shown, other_shown, all_real),
        "roc_area": metrics.roc_area(by_score),
        "pr_area": metrics.average_precision(by_score),
        "escalate_roc_area": metrics.roc_area(by_worse),
    }
    at_budget = metrics.recall_curve(by_score, np.array(BUDGETS))
    for column, share in enumerate(BUDGETS):
        found[f"recall_at_{share:.0%}".removesuffix("%")] = at_budget[:, column]
    return found | {"calibration_error": metrics.calibration_error(by_p), "brier": metrics.brier(by_p)}


def _by_probability(cells: Cells, weights: Floats) -> Ranked:
    spoke = ~np.isnan(cells.p_seen)
    return ranked(cells.p_seen[spoke], cells.truth[spoke] > 0, weights[:, spoke])


def _bins(cells: Cells) -> list[Document]:
    weight, mean, share = metrics.reliability(_by_probability(cells, cells.count[None, :]))
    return [
        {"n": number(n), "p_seen": number(p), "seen": number(s)}
        for n, p, s in zip(weight[0], mean[0], share[0], strict=True)
    ]


def _confusion(lines: pl.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    counted = {(truth, said): n for truth, said, n in lines.group_by("truth", "disposition").len().iter_rows()}
    return {name: {said: counted.get((rank, said), 0) for said in DISPOSITIONS} for rank, name in enumerate(classes)}


def curves(lines: pl.DataFrame) -> Document:
    """What the page draws: `roc` as points (false, true positive rate), `budget` as points (share read, recall)."""
    cells = cells_of(lines)
    by_score = ranked(cells.score, cells.truth > 0, cells.count[None, :])
    real, other = np.cumsum(by_score.real[0]), np.cumsum(by_score.other[0])
    if not real.size or not real[-1] or not other[-1]:
        return {"roc": [], "budget": []}
    picked = np.unique(np.linspace(0, real.size - 1, 2 * _CURVE_POINTS).astype(np.intp))
    roc = [(0.0, 0.0), *zip((other / other[-1])[picked], (real / real[-1])[picked], strict=True)]
    shares = np.linspace(0.0, 1.0, _CURVE_POINTS)
    budget = zip(shares, metrics.recall_curve(by_score, shares)[0], strict=True)
    return {
        "roc": [(round(float(x), 4), round(float(y), 4)) for x, y in roc],
        "budget": [(round(float(x), 4), round(float(y), 4)) for x, y in budget],
    }


def with_interval(value: float, interval: tuple[float, float] | None) -> Mapping[str, float | None]:
    low, high = interval or (math.nan, math.nan)
    return {"value": number(value), "low": number(low), "high": number(high)}


def number(value: float) -> float | None:
    """`value` as JSON can hold it."""
    return float(value) if math.isfinite(value) else None
