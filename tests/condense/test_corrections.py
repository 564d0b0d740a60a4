"""A named person's word on a template, for as long as they gave it, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.columns import Label
from triage.condense import corrections
from triage.condense.memory import Memory, open_memory
from triage.errors import WrongInput
from triage.records import Correction


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setenv("TRIAGE_KEY", str(tmp_path / "memory.key"))
    held = open_memory(tmp_path / "memory", create=True)
    assert held
    return held


def make(memory: Memory, template_id: str = "t", said: Label = "benign", days: int = 30) -> Correction:
    return corrections.correct(memory, template_id, said, because=" backup job ", by="ann", days=days)


def test_a_correction_is_kept_with_who_when_why_and_until(memory: Memory) -> None:
    made = make(memory)
    assert corrections.read_corrections(memory) == ((made,), 0)
    assert (made.because, made.by, made.until - made.at) == ("backup job", "ann", timedelta(days=30))


def test_the_last_one_made_counts_until_it_expires(memory: Memory) -> None:
    first, second = make(memory, said="benign", days=90), make(memory, said="escalate", days=1)
    other = make(memory, "other")
    known, _ = corrections.read_corrections(memory)
    assert corrections.in_force(known, first.at) == (first,)
    assert set(corrections.in_force(known, other.at)) == {second, other}
    # The later one replaced the earlier for good: its end does not bring back what it took the place of.
    assert corrections.in_force(known, second.until) == (other,)
    assert corrections.in_force(known, first.at - timedelta(seconds=1)) == ()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(1, 9)), max_size=8), st.integers(0, 20))
def test_what_is_in_force_is_what_an_oracle_says(made: list[tuple[str, int, int]], day: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    known = sorted(
        (
            Correction(str(i), mark, "benign", "", "", start + timedelta(at), start + timedelta(at + days))
            for i, (mark, at, days) in enumerate(made)
        ),
        key=lambda c: (c.at, c.id),
    )
    expected = set()
    for mark in "ab":
        past = [c for c in known if c.fingerprint == mark and (c.at - start).days <= day]
        if past and (past[-1].until - start).days > day:
            expected.add(past[-1])
    assert set(corrections.in_force(known, start + timedelta(day))) == expected


@pytest.mark.parametrize("column", ["disposition", "because", "by", "until", "at", "fingerprint", "mac"])
def test_a_correction_that_was_changed_is_ignored_and_counted(memory: Memory, column: str) -> None:
    make(memory, said="escalate")
    (file,) = memory.files("corrections")
    rows = pl.read_parquet(file)
    later = pl.col(column) + timedelta(days=1) if column in ("at", "until") else pl.lit("benign")
    rows.with_columns((pl.lit(b"0" * 32) if column == "mac" else later).alias(column)).write_parquet(file)
    assert corrections.read_corrections(memory) == ((), 1)


def test_events_have_the_correction_of_their_template(memory: Memory) -> None:
    made = make(memory, "b")
    events = pl.DataFrame({"template_id": ["a", "b", "b"]})
    found = corrections.corrected(events, events.unique(), (made,), memory)
    assert found["correction"].to_list() == [None, made.id, made.id]
    assert corrections.corrected(events, events.unique(), (), memory)["correction"].to_list() == [None] * 3


def test_a_correction_can_be_taken_back(memory: Memory) -> None:
    corrections.forget(memory, make(memory).id)
    assert corrections.read_corrections(memory) == ((), 0)
    for wrong in ("none", "../key-id", ""):
        with pytest.raises(WrongInput, match="no correction"):
            corrections.forget(memory, wrong)


@pytest.mark.parametrize(("because", "by", "days"), [(" ", "ann", 1), ("x", "", 1), ("x", "ann", 0)])
def test_a_correction_without_reason_name_or_time_is_refused(memory: Memory, because: str, by: str, days: int) -> None:
    with pytest.raises(WrongInput, match="--"):
        corrections.correct(memory, "t", "benign", because=because, by=by, days=days)
