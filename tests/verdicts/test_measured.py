"""The bound that a sample gives holds with the confidence that it names."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.records import Tally
from triage.verdicts.measured import CONFIDENCE, clopper_pearson, measured


def at_most(found: int, judged: int, p: float) -> float:
    return sum(math.comb(judged, k) * p**k * (1 - p) ** (judged - k) for k in range(found + 1))


@pytest.mark.parametrize(
    ("found", "judged", "low", "high"),
    [(0, 10, 0, 0.30850), (1, 10, 0.00253, 0.44502), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1), (0, 1, 0, 0.975)],
)
def test_the_interval_is_that_of_the_published_tables(found: int, judged: int, low: float, high: float) -> None:
    assert clopper_pearson(found, judged, 0.95) == pytest.approx((low, high), abs=1e-5)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_whatever_the_true_rate_the_interval_holds_it_as_often_as_it_says(judged: int, p: float) -> None:
    missed = 0.0
    for found in range(judged + 1):
        low, high = clopper_pearson(found, judged, CONFIDENCE)
        chance = at_most(found, judged, p) - (at_most(found - 1, judged, p) if found else 0)
        missed += chance * (not low <= p <= high)
    assert missed <= 1 - CONFIDENCE + 1e-9


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5), st.floats(1, 100))
def test_slices_drawn_at_one_rate_are_one_sample(slices: list[tuple[int, int]], weight: float) -> None:
    tallies = [Tally(100, found + other, found, 0, weight) for found, other in slices]
    found, judged = sum(f for f, _ in slices), sum(f + o for f, o in slices)
    told = measured(tallies)
    assert (told.rows, told.judged, told.found) == (100 * len(slices), judged, found)
    if not judged:
        assert (told.rate, told.low, told.high) == (None, 0, 1)
        return
    assert told.rate == pytest.approx(found / judged)
    assert (told.low, told.high) == pytest.approx(clopper_pearson(found, judged, CONFIDENCE))


def test_rows_that_stand_for_more_count_for_more_and_widen_the_interval() -> None:
    told = measured([Tally(1000, 10, 1, 0, 100.0), Tally(10, 10, 0, 0, 1.0)])
    assert told.rate == pytest.approx(100 / 1010)
    low, high = clopper_pearson(1, 10, CONFIDENCE)
    assert told.low <= low + 0.01
    assert told.high >= high - 0.01


def test_what_the_judge_left_undecided_counts_against_us() -> None:
    told = measured([Tally(50, 9, 0, 1, 5.0)])
    assert (told.judged, told.found, told.undecided, told.rate) == (9, 0, 1, pytest.approx(0.1))


def test_nothing_drawn_bounds_nothing() -> None:
    told = measured([])
    assert (told.rate, told.low, told.high, told.mean_shift_p_benign) == (None, 0, 1, None)
