"""Rows are drawn at random, the same every time, and no more than may be paid for."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from triage.prefilter.sample import draw, weight


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 1), st.integers(0, 20), st.text(max_size=5))
def test_only_candidates_are_drawn_at_most_so_many_and_the_same_again(
    candidates: list[bool], rate: float, most: int, seed: str
) -> None:
    some = pl.Series(candidates, dtype=pl.Boolean)
    drawn = draw(some, rate, most, seed)
    assert drawn.to_list() == draw(some, rate, most, seed).to_list()
    assert len(drawn) == len(some)
    assert not (drawn & ~some).any()
    assert drawn.sum() <= min(most, some.sum())
    if rate == 1:
        assert drawn.sum() == min(most, some.sum())
    if rate == 0:
        assert not drawn.any()


def test_every_row_has_the_same_chance() -> None:
    some = pl.Series([True] * 40)
    for rate, most, expected in ((0.25, 40, 0.25), (1.0, 4, 0.1)):
        hits = sum(draw(some, rate, most, f"seed {n}").cast(pl.Int64) for n in range(2000))
        shares = [hit / 2000 for hit in hits]
        assert max(abs(share - expected) for share in shares) < 0.05


def test_a_drawn_row_stands_for_as_many_as_its_chance_says() -> None:
    assert weight(100, 10, 0.5, 10) == 10
    assert weight(100, 48, 0.5, 60) == 2
    assert weight(100, 0, 0.5, 60) == 0
