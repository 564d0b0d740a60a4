"""What samples tell: how much the filters dropped that the judge would have raised, and how often sharing changed a
verdict.

Slices are drawn from at different rates where the cost cap binds, so rows are weighted by the inverse of their chance,
and the interval is Korn and Graubard's (1998): that of Clopper and Pearson (1934) for the effective number of
rows (Kish 1965), here rounded against us. Of equal weights it is Clopper and Pearson's, which holds its confidence for
every true rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from triage.records import Answer, Caseload, Measured, Tally
from triage.verdicts.validate import Thresholds, disposition

CONFIDENCE: Final = 0.95
METHOD: Final = "Korn-Graubard: Clopper-Pearson on the effective sample size"


def tallied(caseload: Caseload, answers: Mapping[str, Answer], thresholds: Thresholds) -> dict[str, Tally]:
    """`caseload.samples` with what the judge said of the rows that were drawn."""
    samples = dict(caseload.samples)
    drawn = caseload.events.filter(pl.col("sampled").is_not_null()).select("sampled", "template_id", "own_id")
    for kind, template_id, own_id in drawn.iter_rows():
        tally, shared = samples[kind], answers.get(template_id)
        own = answers.get(own_id) if kind == "shared" else shared
        if shared is None or own is None or shared.probabilities is None or own.probabilities is None:
            samples[kind] = replace(tally, undecided=tally.undecided + 1)
            continue
        said = disposition(shared.probabilities, thresholds)
        found = said != (disposition(own.probabilities, thresholds) if kind == "shared" else "benign")
        shift = abs(shared.probabilities["benign"] - own.probabilities["benign"])
        samples[kind] = replace(tally, judged=tally.judged + 1, found=tally.found + found, shift=tally.shift + shift)
    return samples


def measured(tallies: Sequence[Tally], *, shift: bool = False) -> Measured:
    """One kind of sample over the slices of a run. What the judge left undecided counts as found: it was not benign."""
    drawn = [tally for tally in tallies if tally.judged + tally.undecided]
    numbers = [tally.judged + tally.undecided for tally in drawn]
    hits = [tally.found + tally.undecided for tally in drawn]
    total = sum(tally.weight * n for tally, n in zip(drawn, numbers, strict=True))
    rate, low, high = None, 0.0, 1.0
    if total:
        rate = sum(tally.weight * x for tally, x in zip(drawn, hits, strict=True)) / total
        square = sum(tally.weight**2 * n for tally, n in zip(drawn, numbers, strict=True))
        effective = min(sum(numbers), math.floor(total**2 / square + 1e-9))
        low, _ = clopper_pearson(math.floor(rate * effective + 1e-9), effective, CONFIDENCE)
        _, high = clopper_pearson(math.ceil(rate * effective - 1e-9), effective, CONFIDENCE)
    judged = sum(tally.judged for tally in tallies)
    return Measured(
        rows=sum(tally.rows for tally in tallies),
        judged=judged,
        found=sum(tally.found for tally in tallies),
        undecided=sum(tally.undecided for tally in tallies),
        rate=rate,
        low=low,
        high=high,
        confidence=CONFIDENCE,
        method=METHOD,
        mean_shift_p_benign=sum(tally.shift for tally in tallies) / judged if shift and judged else None,
    )


def clopper_pearson(found: int, judged: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of a share of which `found` of `judged` were seen."""
    tail = (1 - confidence) / 2
    low = 0.0 if found == 0 else _root(lambda p: 1 - _at_most(found - 1, judged, p) - tail)
    high = 1.0 if found == judged else _root(lambda p: tail - _at_most(found, judged, p))
    return low, high


def _at_most(found: int, judged: int, p: float) -> float:
    """The chance of at most `found` of `judged`."""
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 else float(found >= judged)
    whole = math.lgamma(judged + 1)
    return math.fsum(
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(judged - k + 1) + k * math.log(p) + (judged - k) * math.log1p(-p)
        )
        for k in range(found + 1)
    )


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from below zero on [0, 1] meets it."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
