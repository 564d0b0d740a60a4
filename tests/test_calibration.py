"""A calibration changes what probabilities mean, can be undone, and cannot be changed unseen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.calibration import Calibration, calibration_from
from triage.columns import LABELS, Label

OFFSET = st.floats(-3, 3)
MADE = st.builds(
    Calibration, st.just("prompt"), st.floats(0.2, 5), st.tuples(OFFSET, OFFSET, OFFSET), st.none() | st.floats(0, 1)
)
WEIGHTS = st.tuples(*[st.floats(0.001, 1)] * 3)


def shared(weights: tuple[float, ...]) -> dict[Label, float]:
    return {label: weight / sum(weights) for label, weight in zip(LABELS, weights, strict=True)}


@given(MADE, WEIGHTS)
def test_probabilities_stay_probabilities_and_raw_undoes_it(made: Calibration, weights: tuple[float, ...]) -> None:
    p = shared(weights)
    calibrated = made.calibrated(p)
    assert math.isclose(math.fsum(calibrated.values()), 1)
    assert all(0 <= value <= 1 for value in calibrated.values())
    if min(calibrated.values()) > 1e-8:
        assert all(math.isclose(value, p[label], abs_tol=1e-6) for label, value in made.raw(calibrated).items())


@given(st.floats(0.2, 5), WEIGHTS)
def test_a_temperature_alone_changes_no_order(temperature: float, weights: tuple[float, ...]) -> None:
    p = shared(weights)
    said = Calibration("prompt", temperature, (0.0, 0.0, 0.0)).calibrated(p)
    assert all(said[a] <= said[b] + 1e-12 for a in LABELS for b in LABELS if p[a] <= p[b])


@pytest.mark.parametrize(
    "p", [{"benign": 1.0, "review": 0.0, "escalate": 0.0}, {"benign": 0.0, "review": 0.0, "escalate": 1.0}]
)
def test_a_probability_of_zero_is_no_accident(p: dict[Label, float]) -> None:
    said = Calibration("prompt", 2.0, (0.5, -0.5, 0.0)).calibrated(p)
    assert math.isclose(math.fsum(said.values()), 1)
    assert max(said, key=said.__getitem__) == max(p, key=p.__getitem__)


@given(MADE)
def test_what_is_written_is_read_again(made: Calibration) -> None:
    assert calibration_from(made.as_dict()) == made


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"offsets": [0, 0, 1.0]},
        {"review_at": 0.99},
        {"digest": "0"},
        {"offsets": [0.0]},
        {"x": 1},
    ],
)
def test_a_calibration_that_was_changed_is_found_out(change: dict[str, object]) -> None:
    value = Calibration("prompt", 1.5, (0.1, 0.2, -0.3), 0.2).as_dict()
    with pytest.raises(ValueError, match="not a calibration"):
        calibration_from(value | change)
