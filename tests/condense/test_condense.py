"""Events that differ in nothing that matters share a question, and what is said of them together stands beside it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.condense.lines import TANGLED
from triage.columns import EVENTS
from triage.condense.template import Level, condense

LEVELS = st.sampled_from(["standard", "exact", "off"])


@given(st.lists(TANGLED, min_size=1, max_size=20), st.sampled_from(["standard", "exact"]))
@settings(max_examples=40, deadline=None)
def test_same_text_same_template_in_any_company_and_every_event_has_one(lines: list[str], level: Level) -> None:
    events, templates = condense(pl.DataFrame({"message": [*lines, *lines]}), level)
    alone = [condense(pl.DataFrame({"message": [line]}), level)[1]["template_id"][0] for line in lines[:2]]
    ids = events["template_id"].to_list()
    assert events["message"].to_list() == [*lines, *lines]
    assert ids[: len(lines)] == ids[len(lines) :]
    assert ids[: len(alone)] == alone
    assert set(ids) == set(templates["template_id"])
    assert templates["template_id"].is_unique().all()
    assert all(row["template_rows"] == ids.count(row["template_id"]) for row in events.iter_rows(named=True))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["took 5 ms", "took 7 ms", "took 0 ms", "gone"]),
        st.none() | st.sampled_from(["gw1", "gw2", "gw3"]),
        st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC)),
    ),
    max_size=12,
)


@given(ROWS, LEVELS)
@settings(max_examples=60, deadline=None)
def test_rows_hosts_first_and_last_are_those_of_the_templates_events(
    rows: list[tuple[str, str | None, datetime | None]], level: Level
) -> None:
    frame = pl.DataFrame(
        [{"position": i, "message": m, "host": h, "timestamp": t} for i, (m, h, t) in enumerate(rows)], schema=EVENTS
    )
    events, _ = condense(frame, level)
    assert events.select(frame.columns).equals(frame)
    together = defaultdict(list)
    for row in events.iter_rows(named=True):
        together[row["template_id"]].append(row)
    for group in together.values():
        times = [row["timestamp"] for row in group if row["timestamp"]]
        for row in group:
            assert row["template_rows"] == len(group)
            assert row["template_hosts"] == len({row["host"] for row in group} - {None})
            assert row["template_first"] == min(times, default=None)
            assert row["template_last"] == max(times, default=None)
    added = {
        name: events.schema[name] for name in ("template_rows", "template_hosts", "template_first", "template_last")
    }
    assert added == {
        "template_rows": pl.Int64,
        "template_hosts": pl.Int64,
        "template_first": EVENTS["timestamp"],
        "template_last": EVENTS["timestamp"],
    }


def test_at_off_every_event_asks_a_question_of_its_own() -> None:
    events, templates = condense(pl.DataFrame({"position": [0, 9, 30], "message": ["a 5", "a 5", "a 6"]}), "off")
    assert templates["template"].to_list() == ["a 5", "a 5", "a 6"]
    assert templates["template_id"].n_unique() == 3
    assert events["template_rows"].to_list() == [1, 1, 1]


def test_at_exact_only_the_same_text_shares() -> None:
    events, templates = condense(pl.DataFrame({"message": ["a 5", "a 5", "a 6"]}), "exact")
    assert templates["template"].to_list() == ["a 5", "a 6"]
    assert events["template_rows"].to_list() == [2, 2, 1]


@pytest.mark.parametrize("level", ["standard", "exact", "off"])
def test_no_events_no_templates(level: Level) -> None:
    events, templates = condense(pl.DataFrame({"message": []}, schema={"message": pl.String}), level)
    assert events.height == templates.height == 0
    assert events.columns[1:] == ["template_id", "template_rows", "template_hosts", "template_first", "template_last"]
