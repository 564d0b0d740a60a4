"""`[rule.window]` against plain Python: more than so many events within a time, for each value of some columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.columns import EVENTS, SOURCE
from triage.prefilter.rules import Rule
from triage.prefilter.sift import hits
from triage.prefilter.windows import duration

START = datetime(2026, 11, 24, 6, tzinfo=UTC)
HOSTS = st.sampled_from(["a", "b", "A", None])
ROWS = st.fixed_dictionaries(
    {
        "message": st.sampled_from(["x", "x", "x", "other"]),
        "timestamp": st.integers(0, 12).map(lambda s: START + timedelta(seconds=s)) | st.none(),
        "host": HOSTS,
        SOURCE + "ip": HOSTS,
    }
)


def counted(by: list[str], more_than: int, within: str) -> Rule:
    window = {"by": by, "more_than": more_than, "within": within}
    return Rule.model_validate(
        {"id": "r", "because": "a test", "mark": True, "when": {"message": "x"}, "window": window}
    )


def rows_hit(rule: Rule, rows: list[dict[str, Any]]) -> list[int]:
    events = pl.DataFrame(rows, schema={**EVENTS, SOURCE + "ip": pl.String()})
    return sorted(hits(events, [rule])["row"].to_list())


def plainly(rows: list[dict[str, Any]], by: list[str], more_than: int, within: timedelta) -> list[int]:
    """Every stretch that begins with an event and lasts `within`: who is in it, if they are many enough."""
    groups: dict[tuple[str, ...], list[tuple[datetime, int]]] = {}
    for number, row in enumerate(rows):
        key = tuple(row[name] for name in by)
        if row["message"] == "x" and row["timestamp"] is not None and None not in key:
            groups.setdefault(key, []).append((row["timestamp"], number))
    found: set[int] = set()
    for members in groups.values():
        for start, _ in members:
            inside = [number for time, number in members if start <= time <= start + within]
            if len(inside) > more_than:
                found.update(inside)
    return sorted(found)


@pytest.mark.parametrize("by", [[], ["host"], ["host", SOURCE + "ip"]])
@given(rows=st.lists(ROWS, max_size=24), more_than=st.integers(1, 5), seconds=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_an_event_hits_where_enough_like_it_lie_within_the_time(
    by: list[str], rows: list[dict[str, Any]], more_than: int, seconds: int
) -> None:
    """With ties, in any order of rows, with times, hosts and columns missing."""
    expected = plainly(rows, by, more_than, timedelta(seconds=seconds))
    assert rows_hit(counted(by, more_than, f"{seconds}s"), rows) == expected


def test_both_ends_of_the_time_belong_to_it() -> None:
    def at(*seconds: float) -> list[dict[str, Any]]:
        return [{"message": "x", "timestamp": START + timedelta(seconds=s)} for s in seconds]

    rule = counted([], 2, "10s")
    assert rows_hit(rule, at(0, 5, 10)) == [0, 1, 2]
    assert rows_hit(rule, at(0, 5, 10.000001)) == []
    assert rows_hit(rule, at(0, 0, 10, 20, 20)) == [0, 1, 2, 3, 4]
    assert rows_hit(rule, at(0, 8, 16, 17, 18, 40)) == [1, 2, 3, 4]


def test_a_window_wider_than_the_slice_and_a_count_above_its_rows() -> None:
    rows = [{"message": "x", "timestamp": START}] * 3
    assert rows_hit(counted([], 2, "365d"), rows) == [0, 1, 2]
    assert rows_hit(counted([], (1 << 31) - 1, "1s"), rows) == []


@pytest.mark.parametrize(
    ("text", "length"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("7d", 7 * 86400)]
)
def test_lengths_of_time(text: str, length: float) -> None:
    assert duration(text).total_seconds() == length


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-5m", "5 m", "1.5h", "1w", "5M", "1000000d"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="length of time"):
        duration(text)
