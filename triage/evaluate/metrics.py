"""Figures of a ranking against truth, each over many weightings of the lines at once.

A weighting is a row of `weights`: all ones (or counts of equal lines) for the figure itself, one row a resample for
its interval. Lines of equal score are a tie, and figures take the expectation under random order of it, so that the
order of lines in a file changes nothing. A figure that a weighting cannot give is NaN here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ranked:
    """Lines by their score, the highest first: of each level of it, what weighs on lines that are real (an analyst
    should see them) and on the others. `score` is (levels,); `real` and `other` are (weightings, levels)."""

    score: Floats
    real: Floats
    other: Floats


def ranked(score: Floats, truth: Bools, weights: Floats) -> Ranked:
    """(lines,), (lines,) and (weightings, lines) by levels of the score."""
    if not score.size:
        nothing = np.zeros((weights.shape[0], 0))
        return Ranked(np.zeros(0), nothing, nothing)
    order = np.argsort(-score, kind="stable")
    by_score, weights, truth = score[order], weights[:, order], truth[order]
    starts = np.flatnonzero(np.r_[True, by_score[1:] != by_score[:-1]])
    return Ranked(
        by_score[starts],
        np.add.reduceat(weights * truth, starts, axis=1),
        np.add.reduceat(weights * ~truth, starts, axis=1),
    )


def _ratio(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def precision(real_shown: Floats, other_shown: Floats) -> Floats:
    return _ratio(real_shown, real_shown + other_shown)


def recall(real_shown: Floats, real: Floats) -> Floats:
    return _ratio(real_shown, real)


def f1(real_shown: Floats, other_shown: Floats, real: Floats) -> Floats:
    return _ratio(2 * real_shown, real_shown + other_shown + real)


def roc_area(r: Ranked) -> Floats:
    """The chance that a real line is ranked above another, ties as one half (Mann and Whitney 1947)."""
    above = np.cumsum(r.real, axis=1) - r.real / 2
    return _ratio((r.other * above).sum(axis=1), r.real.sum(axis=1) * r.other.sum(axis=1))


def average_precision(r: Ranked) -> Floats:
    """The area under precision against recall, as steps: the sum over levels of precision times recall gained."""
    real, read = np.cumsum(r.real, axis=1), np.cumsum(r.real + r.other, axis=1)
    at_level = np.divide(real, read, out=np.zeros(real.shape), where=read > 0)
    return _ratio((r.real * at_level).sum(axis=1), r.real.sum(axis=1))


def recall_at(r: Ranked, share: float) -> Floats:
    """The share of real lines among the worst `share` of all lines. A part of a line is that part of its chance."""
    return recall_curve(r, np.array([share]))[:, 0]


def recall_curve(r: Ranked, shares: Floats) -> Floats:
    """(weightings, shares): `recall_at` each share."""
    found = _up_to(r.real + r.other, r.real, shares)
    return _ratio(found, np.broadcast_to(r.real.sum(axis=1)[:, None], found.shape))


def reliability(r: Ranked, bins: int = 10) -> tuple[Floats, Floats, Floats]:
    """(weight, mean score, share of real lines) of `bins` bins of equal weight, (weightings, bins) each, lowest score
    first. A tie that falls into two bins is shared out between them."""
    ends = np.linspace(0.0, 1.0, bins + 1)
    mass = r.real + r.other
    of = [np.diff(_up_to(mass, value, ends), axis=1)[:, ::-1] for value in (mass, mass * r.score, r.real)]
    return of[0], _ratio(of[1], of[0]), _ratio(of[2], of[0])


def calibration_error(r: Ranked, bins: int = 10) -> Floats:
    """Expected calibration error (Naeini et al. 2015) over bins of equal weight (Nguyen and O'Connor 2015)."""
    mass = r.real + r.other
    gaps = np.diff(_up_to(mass, r.real - mass * r.score, np.linspace(0.0, 1.0, bins + 1)), axis=1)
    return _ratio(np.abs(gaps).sum(axis=1), mass.sum(axis=1))


def brier(r: Ranked) -> Floats:
    """The mean squared distance of the score from what is true (Brier 1950)."""
    missed = r.real * (1 - r.score) ** 2 + r.other * r.score**2
    return _ratio(missed.sum(axis=1), (r.real + r.other).sum(axis=1))


def _up_to(mass: Floats, value: Floats, shares: Floats) -> Floats:
    """(weightings, shares): the sum of `value` over the first levels that hold each share of `mass`, in a straight line
    within a level."""
    start = np.zeros((mass.shape[0], 1))
    masses = np.concatenate([start, np.cumsum(mass, axis=1)], axis=1)
    values = np.concatenate([start, np.cumsum(value, axis=1)], axis=1)
    return np.stack([np.interp(shares * m[-1], m, v) for m, v in zip(masses, values, strict=True)])
