"""Intervals rest on templates, not on how often a line was copied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.evaluate import bootstrap
from triage.evaluate.bootstrap import intervals
from triage.evaluate.metrics import Floats


def share_of(values: Floats) -> bootstrap.Figures:
    return lambda weights: {"share": (weights * values).sum(axis=1) / weights.sum(axis=1)}


def test_an_interval_of_a_share_is_about_its_binomial_one() -> None:
    values = np.array([1.0] * 40 + [0.0] * 60)
    told = intervals(np.arange(100), np.ones(100), share_of(values), resamples=4000, seed=1)["share"]
    assert told is not None
    half = 1.96 * (0.4 * 0.6 / 100) ** 0.5
    assert told == pytest.approx((0.4 - half, 0.4 + half), abs=0.012)


def test_copies_do_not_make_an_interval_narrower() -> None:
    values = np.array([1.0] * 4 + [0.0] * 6)
    once = intervals(np.arange(10), np.ones(10), share_of(values), resamples=500, seed=1)
    often = intervals(np.arange(10), np.full(10, 1000.0), share_of(values), resamples=500, seed=1)
    spread = intervals(np.repeat(np.arange(10), 7), np.ones(70), share_of(np.repeat(values, 7)), resamples=500, seed=1)
    assert once["share"] == pytest.approx(often["share"])
    assert once["share"] == pytest.approx(spread["share"])


@given(st.integers(1, 40))
def test_the_same_seed_gives_the_same_interval_however_many_are_drawn_at_once(at_once: int) -> None:
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    whole = intervals(np.arange(5), np.ones(5), share_of(values), resamples=50, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_AT_ONCE", 5 * at_once)
        assert intervals(np.arange(5), np.ones(5), share_of(values), resamples=50, seed=3) == whole


@pytest.mark.parametrize(("templates", "resamples"), [(1, 100), (5, 0), (0, 100)])
def test_there_is_no_interval_where_nothing_varies(templates: int, resamples: int) -> None:
    many = max(templates, 1)
    template = np.zeros(0, np.intp) if templates == 0 else np.arange(templates)
    values = np.ones(0 if templates == 0 else many)
    told = intervals(template, np.ones(template.size), lambda w: {"n": w.sum(axis=1)}, resamples=resamples, seed=0)
    assert values.size == template.size
    assert told == {"n": None}


def test_there_is_no_interval_where_most_resamples_say_nothing() -> None:
    def rarely(weights: Floats) -> dict[str, Floats]:
        return {"x": np.where(weights[:, 0] >= 3, weights[:, 0], np.nan)}

    assert intervals(np.arange(4), np.ones(4), rarely, resamples=200, seed=0) == {"x": None}
