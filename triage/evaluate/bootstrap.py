"""Intervals for figures, by resampling templates.

Promises: copies of a template come and go together, so that a thousand of one line are one piece of evidence; the
same seed gives the same interval. Percentile intervals (Efron 1979): of figures whose resamples lean to one side,
such as calibration error, they lean too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from triage.evaluate.metrics import Floats

Figures = Callable[[Floats], Mapping[str, Floats]]
"""(weightings, lines) -> of each figure its value for each weighting."""

CONFIDENCE: Final = 0.95
_AT_ONCE: Final = 2_000_000  # weights held in memory, of 8 bytes


def intervals(
    template: npt.NDArray[np.intp], counts: Floats, figures: Figures, *, resamples: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    """The interval of each figure. `template` numbers each line's template from 0; `counts` says how many lines it
    stands for. None where there are not two templates, or half of the resamples cannot give the figure."""
    many = int(template.max()) + 1 if template.size else 0
    if many < 2 or resamples < 1:
        return dict.fromkeys(figures(counts[None, :]))
    draw = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // max(template.size, many))
    found: dict[str, list[Floats]] = {}
    for first in range(0, resamples, at_once):
        drawn = draw.multinomial(many, np.full(many, 1 / many), size=min(at_once, resamples - first))
        for name, values in figures(drawn[:, template] * counts).items():
            found.setdefault(name, []).append(values)
    return {name: _interval(np.concatenate(values)) for name, values in found.items()}


def _interval(values: Floats) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if known.size * 2 < values.size:
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
