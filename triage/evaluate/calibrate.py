"""Fit what a model's answers are worth, and where to cut them.

Without labelled lines: contextual calibration (Zhao et al. 2021), from what the model answers to texts without content.
With them: temperature and offsets by maximum likelihood (Guo et al. 2017; Alexandari et al. 2020), one row a template
so that copies are no evidence, held near "change nothing" by a weak prior so that a handful of lines cannot do much.
What is said of the fit is measured on systems that it was not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize

from triage.calibration import LEAST, Calibration
from triage.columns import LABELS

PRIOR: Final = 0.5
"""Weight of the prior, in lines: that of the squares of the logarithm of the temperature and of the offsets."""
BINS: Final = 10
MOST_FOLDS: Final = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """Temperature and offsets, with the mean loss and the calibration error before and after, on other systems."""

    temperature: float
    offsets: tuple[float, float, float]
    rows: int
    loss_before: float
    loss_after: float  # cross-validated over groups; in sample where there is one group
    ece_before: float
    ece_after: float
    across_groups: bool


def contextual(content_free: Mapping[str, float]) -> tuple[float, tuple[float, float, float]]:
    """(temperature, offsets) that make the answer to a text without content say nothing."""
    logs = [-math.log(max(content_free[label], LEAST)) for label in LABELS]
    middle = sum(logs) / len(logs)
    return 1.0, (logs[0] - middle, logs[1] - middle, logs[2] - middle)


def fit(p: np.ndarray, truth: np.ndarray, groups: Sequence[str]) -> Fit:
    """Fit on the model's own probabilities `p` (rows, 3) of labelled rows. `truth`: index into LABELS. Rows of one
    group (a system, a source) are together in or out when the fit is measured."""
    names = np.asarray(groups)
    kinds = np.unique(names)
    whole = _fitted(p, truth)
    after = np.zeros_like(p)
    folds = np.arange(len(kinds)) % min(MOST_FOLDS, len(kinds))
    np.random.default_rng(0).shuffle(folds)
    if len(kinds) > 1:
        for fold in range(folds.max() + 1):
            out = np.isin(names, kinds[folds == fold])
            after[out] = applied(p[out], *_fitted(p[~out], truth[~out]))
    else:
        after = applied(p, *whole)
    return Fit(
        temperature=whole[0],
        offsets=whole[1],
        rows=len(truth),
        loss_before=loss(p, truth),
        loss_after=loss(after, truth),
        ece_before=error(1 - p[:, 0], truth > 0),
        ece_after=error(1 - after[:, 0], truth > 0),
        across_groups=len(kinds) > 1,
    )


def applied(p: np.ndarray, temperature: float, offsets: Sequence[float]) -> np.ndarray:
    """`Calibration.calibrated`, for many rows at once."""
    logs = np.log(np.maximum(p, LEAST)) / temperature + np.asarray(offsets)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def loss(p: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log likelihood of the truth."""
    return float(-np.log(np.maximum(p[np.arange(len(truth)), truth], LEAST)).mean())


def error(score: np.ndarray, positive: np.ndarray) -> float:
    """Expected calibration error in bins of equal mass."""
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(len(part) * abs(score[part].mean() - positive[part].mean()) for part in parts) / len(score))


def at_budget(score: np.ndarray, share: float) -> float:
    """The lowest threshold at which at most `share` of the rows have a score that reaches it."""
    most = math.floor(share * len(score) + 1e-9)
    falling = np.sort(score)[::-1]
    if most >= len(falling):
        return 0.0
    # Above the first score that would be one too many, and above its equals.
    return float(min(1.0, np.nextafter(falling[most], 2.0)))


def at_recall(score: np.ndarray, positive: np.ndarray, target: float) -> float:
    """The highest threshold that at least `target` of the positive rows reach."""
    falling = np.sort(score[positive])[::-1]
    return float(falling[max(0, math.ceil(target * len(falling) - 1e-9) - 1)])


def calibration(
    prompt_digest: str,
    temperature: float,
    offsets: tuple[float, float, float],
    *,
    review_at: float | None,
    escalate_at: float | None,
    fitted: Mapping[str, object],
) -> Calibration:
    """The record of a fit. Figures are rounded, so that they are the same when they are read again."""
    return Calibration(
        prompt_digest,
        round(temperature, 6),
        (round(offsets[0], 6), round(offsets[1], 6), round(offsets[2], 6)),
        review_at,
        escalate_at,
        fitted,
    )


def _fitted(p: np.ndarray, truth: np.ndarray) -> tuple[float, tuple[float, float, float]]:
    logs = np.log(np.maximum(p, LEAST))
    rows = np.arange(len(truth))

    def cost(x: np.ndarray) -> float:
        scaled = logs * np.exp(-x[0]) + np.array([-(x[1] + x[2]), x[1], x[2]])
        most = scaled.max(axis=1)
        total = most + np.log(np.exp(scaled - most[:, None]).sum(axis=1))
        return float((total - scaled[rows, truth]).sum() + PRIOR * (x**2).sum())

    x = minimize(cost, np.zeros(3), method="BFGS").x
    return float(np.exp(x[0])), (float(-(x[1] + x[2])), float(x[1]), float(x[2]))
