"""What a model's answers are worth: label probabilities corrected for the model's leanings, and where to cut them.

    log p'(label) = log p(label) / temperature + offset(label), up to a constant

With `temperature` 1 and offsets of minus the logarithm of what the model answers to texts without content, this is
contextual calibration (Zhao et al. 2021); with all of it fitted on labelled lines, temperature scaling with bias
correction (Guo et al. 2017; Alexandari et al. 2020). Fitting is `evaluate.calibrate`; here it is applied.

Promises: answers are remembered as the model gave them, so that another calibration asks nothing again; a calibration
never changes an order of two lines by more than its offsets and temperature say, and `raw` undoes it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from triage.columns import LABELS, Label

LEAST: Final = 1e-9
"""A probability below this counts as this: engines round, and a logarithm of zero says nothing."""


@dataclass(frozen=True)
class Calibration:
    """One fit, of one model's weights with one prompt. Thresholds are None where none were fitted."""

    prompt_digest: str
    temperature: float
    offsets: tuple[float, float, float]  # of benign, review, escalate
    review_at: float | None = None
    escalate_at: float | None = None
    fitted: Mapping[str, Any] | None = None  # how, on what, when, by whom

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that changes a verdict."""
        said = [self.prompt_digest, self.temperature, list(self.offsets), self.review_at, self.escalate_at]
        return hashlib.sha256(orjson.dumps(said)).hexdigest()

    def calibrated(self, p: Mapping[Label, float]) -> dict[Label, float]:
        """What the model's probabilities `p` mean. They sum to one, before and after."""
        return _normalised(
            {
                label: math.log(max(p[label], LEAST)) / self.temperature + offset
                for label, offset in zip(LABELS, self.offsets, strict=True)
            }
        )

    def raw(self, p: Mapping[Label, float]) -> dict[Label, float]:
        """The model's probabilities that `calibrated` made `p` of."""
        return _normalised(
            {
                label: (math.log(max(p[label], LEAST)) - offset) * self.temperature
                for label, offset in zip(LABELS, self.offsets, strict=True)
            }
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"offsets": list(self.offsets), "digest": self.digest}


def calibration_from(value: Mapping[str, Any]) -> Calibration:
    """The calibration that `as_dict` made `value` of. Raises ValueError where it is not one, or was changed."""
    try:
        known = {name: item for name, item in value.items() if name != "digest"}
        made = Calibration(**(known | {"offsets": tuple(float(offset) for offset in value["offsets"])}))
        sound = made.temperature > 0 and len(made.offsets) == len(LABELS) and made.digest == value["digest"]
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError("not a calibration, or changed since it was made")
    return made


def _normalised(logs: Mapping[Label, float]) -> dict[Label, float]:
    most = max(logs.values())
    powers = {label: math.exp(value - most) for label, value in logs.items()}
    total = math.fsum(powers.values())
    return {label: power / total for label, power in powers.items()}
