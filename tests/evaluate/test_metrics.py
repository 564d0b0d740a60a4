"""Figures are what their definitions say: against hand-worked cases, scikit-learn, and as laws."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from triage.evaluate import metrics
from triage.evaluate.metrics import Ranked, ranked

SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])
LINES = st.lists(st.tuples(SCORES, st.booleans(), st.integers(1, 4)), min_size=1, max_size=25)
Lines = list[tuple[float, bool, int]]


def of(lines: Lines) -> Ranked:
    score, truth, count = (np.array(column) for column in zip(*lines, strict=True))
    return ranked(score.astype(np.float64), truth.astype(np.bool_), count[None, :].astype(np.float64))


def one_by_one(lines: Lines) -> tuple[list[float], list[bool]]:
    return [s for s, _, n in lines for _ in range(n)], [t for _, t, n in lines for _ in range(n)]


@given(LINES)
def test_roc_area_is_the_chance_of_the_right_order_with_ties_one_half(lines: Lines) -> None:
    scores, truth = one_by_one(lines)
    real = [s for s, t in zip(scores, truth, strict=True) if t]
    other = [s for s, t in zip(scores, truth, strict=True) if not t]
    area = metrics.roc_area(of(lines))[0]
    if not real or not other:
        assert math.isnan(area)
        return
    right = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(real, other))
    assert area == pytest.approx(right / len(real) / len(other))
    assert area == pytest.approx(roc_auc_score(truth, scores))


@given(LINES)
def test_average_precision_is_that_of_scikit_learn(lines: Lines) -> None:
    scores, truth = one_by_one(lines)
    assume(any(truth))
    assert metrics.average_precision(of(lines))[0] == pytest.approx(average_precision_score(truth, scores))


def every(r: Ranked) -> list[float]:
    figures = (metrics.roc_area, metrics.average_precision, metrics.calibration_error, metrics.brier)
    return [*(float(figure(r)[0]) for figure in figures), float(metrics.recall_at(r, 0.05)[0])]


@given(LINES.flatmap(lambda lines: st.tuples(st.just(lines), st.permutations(lines))))
def test_the_order_of_lines_changes_nothing(both: tuple[Lines, Lines]) -> None:
    assert every(of(both[0])) == pytest.approx(every(of(both[1])), nan_ok=True)


@given(LINES)
def test_a_count_is_that_many_equal_lines(lines: Lines) -> None:
    spread = [(s, t, 1) for s, t, n in lines for _ in range(n)]
    assert every(of(lines)) == pytest.approx(every(of(spread)), nan_ok=True)


@given(LINES, st.floats(0, 1), st.floats(0, 1))
def test_reading_more_never_finds_less_and_reading_all_finds_all(lines: Lines, some: float, more: float) -> None:
    assume(any(truth for _, truth, _ in lines))
    less, greater = (metrics.recall_at(of(lines), share)[0] for share in sorted((some, more)))
    assert less <= greater + 1e-12
    assert metrics.recall_at(of(lines), 0.0)[0] == 0
    assert metrics.recall_at(of(lines), 1.0)[0] == pytest.approx(1)


def test_a_tie_at_the_edge_of_the_budget_counts_as_its_expectation() -> None:
    tied = [(0.9, True, 1), (0.5, True, 1), (0.5, False, 3), (0.1, True, 1), (0.1, False, 4)]
    assert metrics.recall_at(of(tied), 0.3)[0] == pytest.approx((1 + 2 / 4) / 3)


@given(st.dictionaries(st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.8, 1.0]), st.integers(1, 5), min_size=1))
def test_made_data_that_is_calibrated_has_no_calibration_error(levels: dict[float, int]) -> None:
    lines = [
        (p, truth, round(10 * n * share))
        for p, n in levels.items()
        for truth, share in ((True, p), (False, 1 - p))
        if share
    ]
    assert metrics.calibration_error(of(lines))[0] == pytest.approx(0, abs=1e-12)


def test_calibration_error_of_a_judge_who_is_always_sure_and_half_the_time_wrong() -> None:
    assert metrics.calibration_error(of([(1.0, True, 50), (1.0, False, 50)]))[0] == pytest.approx(0.5)
    assert metrics.brier(of([(1.0, True, 50), (1.0, False, 50)]))[0] == pytest.approx(0.5)


@given(LINES)
def test_reliability_bins_are_of_equal_weight_and_add_up(lines: Lines) -> None:
    weight, mean, share = (part[0] for part in metrics.reliability(of(lines)))
    scores, truth = one_by_one(lines)
    assert weight == pytest.approx(np.full(10, len(scores) / 10))
    assert (weight * mean).sum() == pytest.approx(sum(scores))
    assert (weight * share).sum() == pytest.approx(sum(truth))
    error = np.abs(mean - share).mean()
    assert metrics.calibration_error(of(lines))[0] == pytest.approx(error)


def test_precision_recall_and_f1_of_a_hand_worked_case() -> None:
    real_shown, other_shown, real = np.array([3.0]), np.array([1.0]), np.array([6.0])
    assert metrics.precision(real_shown, other_shown)[0] == 0.75
    assert metrics.recall(real_shown, real)[0] == 0.5
    assert metrics.f1(real_shown, other_shown, real)[0] == 0.6


def test_a_figure_that_nothing_gives_is_not_a_number() -> None:
    zero = np.array([0.0])
    assert math.isnan(metrics.precision(zero, zero)[0])
    nothing = ranked(np.zeros(0), np.zeros(0, np.bool_), np.zeros((1, 0)))
    assert all(math.isnan(value) for value in every(nothing))


@given(LINES, st.lists(st.lists(st.integers(0, 3), min_size=25, max_size=25), min_size=1, max_size=4))
def test_many_weightings_at_once_are_each_weighting_alone(lines: Lines, drawn: list[list[int]]) -> None:
    score = np.array([s for s, _, _ in lines])
    truth = np.array([t for _, t, _ in lines])
    weights = np.array(drawn, dtype=np.float64)[:, : len(lines)]
    at_once = metrics.roc_area(ranked(score, truth, weights))
    for row, value in zip(weights, at_once, strict=True):
        assert metrics.roc_area(ranked(score, truth, row[None, :]))[0] == pytest.approx(value, nan_ok=True)
