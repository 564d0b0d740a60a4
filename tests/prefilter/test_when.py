"""When a rule hits, against plain Python: every operator, every nesting, and what is missing."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.columns import EVENTS, SOURCE
from triage.prefilter.rules import Rule
from triage.prefilter.sift import hits, sift

EXAMPLES = settings(max_examples=60, deadline=None)
WORDS = st.text(alphabet="abAB .*é[\n1", max_size=4)


def rule(when: dict[str, Any], **fields: Any) -> Rule:
    return Rule.model_validate({"id": "r", "because": "a test", "mark": True, "when": when, **fields})


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """`rows` by the names of columns; the shard's own begin with SOURCE."""
    own = {name: pl.String() for row in rows for name in row if name.startswith(SOURCE)}
    return pl.DataFrame([{"message": "", **row} for row in rows], schema={**EVENTS, **own})


def rows_hit(one: Rule, rows: list[dict[str, Any]]) -> list[bool]:
    found = set(hits(frame(rows), [one])["row"].to_list())
    return [number in found for number in range(len(rows))]


def as_number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) else None


def compared(name: str, text: str, bound: float) -> bool:
    number = as_number(text)
    if number is None:
        return False
    return {
        "at_least": number >= bound,
        "at_most": number <= bound,
        "more_than": number > bound,
        "less_than": number < bound,
    }[name]


def plain(test: dict[str, Any], value: str | None) -> bool:
    """What a test of a column of text says of a value."""
    if "exists" in test and test["exists"] != (value is not None):
        return False
    if value is None:
        return set(test) == {"exists"}
    low = value.lower()
    says = {
        "exists": lambda wanted: True,
        "equals": lambda word: low == word.lower(),
        "in": lambda words: low in [word.lower() for word in words],
        "contains": lambda word: word.lower() in low,
        "contains_any": lambda words: any(word.lower() in low for word in words),
        "starts_with": lambda word: low.startswith(word.lower()),
        "ends_with": lambda word: low.endswith(word.lower()),
        "matches": lambda patterns: all(re.search(pattern, value) for pattern in patterns),
        "ascii": lambda wanted: value.isascii() == wanted,
    }
    return all(
        says[name](operand) if name in says else compared(name, value, operand) for name, operand in test.items()
    )


BOUNDS = st.integers(-30, 30) | st.sampled_from([0.5, 1e3, -2.25, (1 << 53) - 1])
TESTS = st.fixed_dictionaries(
    {},
    optional={
        "equals": WORDS,
        "in": st.lists(WORDS, max_size=3),
        "contains": WORDS,
        "contains_any": st.lists(WORDS, min_size=1, max_size=3),
        "starts_with": WORDS,
        "ends_with": WORDS,
        "matches": st.lists(WORDS.map(re.escape), min_size=1, max_size=2),
        "ascii": st.booleans(),
        "exists": st.booleans(),
        "at_least": BOUNDS,
        "at_most": BOUNDS,
        "more_than": BOUNDS,
        "less_than": BOUNDS,
    },
).filter(bool)
NUMBERS = st.sampled_from(
    ["1", "-7", "+3", "0.5", "1e3", "1E+2", " 1", "1 ", "1.", ".5", "inf", "nan", "0x1", "1_0", ""]
)
VALUES = WORDS | NUMBERS | st.integers(-(1 << 60), 1 << 60).map(str) | st.floats(-40, 40).map(str) | st.none()


@given(test=TESTS, values=st.lists(VALUES, min_size=1, max_size=10))
@EXAMPLES
def test_operators_do_as_plain_python(test: dict[str, Any], values: list[str | None]) -> None:
    for column, when in (("user", {"user": test}), (SOURCE + "a.b", {"source": {"a.b": test}})):
        rows = [{column: value} for value in values]
        assert rows_hit(rule(when), rows) == [plain(test, value) for value in values]


SMALL: list[dict[str, Any]] = [
    {"equals": "a"},
    {"contains": "a"},
    {"exists": False},
    {"more_than": 1},
    {"matches": ["A"]},
    {"matches": ["a", "b"], "contains": "b"},
    {"matches": ["", "a"], "ascii": True},
    {"contains_any": ["a", ""], "matches": ["b|^$"]},
]


@st.composite
def whens(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    when: dict[str, Any] = {}
    for column in draw(st.lists(st.sampled_from(["host", "user", "message"]), unique=True, max_size=2)):
        when[column] = draw(st.sampled_from(SMALL))
    for column in draw(st.lists(st.sampled_from(["x", "y.z"]), unique=True, max_size=1)):
        when["source"] = {column: draw(st.sampled_from(SMALL))}
    if depth:
        for name in draw(st.lists(st.sampled_from(["all", "any", "not"]), unique=True, max_size=2)):
            inner = whens(depth - 1)
            when[name] = draw(inner if name == "not" else st.lists(inner, min_size=1, max_size=3))
    return when or {"message": draw(st.sampled_from(SMALL))}


def holds(when: dict[str, Any], row: dict[str, Any]) -> bool:
    tests = [plain(test, row.get(column)) for column, test in when.items() if column in EVENTS]
    tests += [plain(test, row.get(SOURCE + column)) for column, test in when.get("source", {}).items()]
    tests += [holds(part, row) for part in when.get("all", [])]
    tests += [any(holds(part, row) for part in when["any"])] if "any" in when else []
    tests += [not holds(when["not"], row)] if "not" in when else []
    return all(tests)


SHORT = st.sampled_from(["", "a", "A", "ab", "B", "é", "2", None])
ROWS = st.fixed_dictionaries(
    {"message": st.text("abAB", max_size=3), **dict.fromkeys(("host", "user", SOURCE + "x", SOURCE + "y.z"), SHORT)}
)


@given(tried=st.lists(whens(), min_size=1, max_size=3), rows=st.lists(ROWS, min_size=1, max_size=6))
@EXAMPLES
def test_and_or_and_not_nest_and_rules_do_not_touch_each_other(
    tried: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    """Also that costly tests, which see only the rows that the cheap ones left, say the same as they would by
    themselves."""
    rules = [rule(when) for when in tried]
    found = set(hits(frame(rows), rules).iter_rows())
    assert found == {
        (row, number) for number, when in enumerate(tried) for row, event in enumerate(rows) if holds(when, event)
    }


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 3), timezones=st.just(UTC)) | st.sampled_from(
    [datetime(2026, 1, 2, hour, minute, tzinfo=UTC) for hour in (0, 6, 22) for minute in (0, 30)]
)
OFFSETS = st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=30))])  # noqa: UP017  a plain offset too


@given(
    bound=MOMENTS,
    zone=OFFSETS,
    as_text=st.booleans(),
    name=st.sampled_from(["at_least", "at_most", "more_than", "less_than"]),
    moments=st.lists(MOMENTS | st.none(), min_size=1, max_size=6),
)
@EXAMPLES
def test_times_are_compared_as_instants(
    bound: datetime, zone: timezone, as_text: bool, name: str, moments: list[datetime | None]
) -> None:
    written = bound.astimezone(zone)
    one = rule({"timestamp": {name: written.isoformat() if as_text else written}})
    means = {
        "at_least": bound.__le__,
        "at_most": bound.__ge__,
        "more_than": bound.__lt__,
        "less_than": bound.__gt__,
    }[name]
    expected = [moment is not None and means(moment) for moment in [*moments, bound]]
    assert rows_hit(one, [{"timestamp": moment} for moment in [*moments, bound]]) == expected


@pytest.mark.parametrize("ends", [("06:00", "22:00"), ("22:00", "06:00"), ("22:30", "22:30"), ("00:00", "23:59:59")])
@given(moments=st.lists(MOMENTS | st.none(), min_size=1, max_size=8))
@EXAMPLES
def test_hours_begin_with_the_first_and_end_before_the_second_over_midnight_too(
    ends: tuple[str, str], moments: list[datetime | None]
) -> None:
    def inside(moment: datetime) -> bool:
        start, stop, now = (*ends, moment.time().isoformat())
        return start <= now < stop if start <= stop else now >= start or now < stop

    one = rule({"timestamp": {"hours": list(ends)}})
    expected = [moment is not None and inside(moment) for moment in moments]
    assert rows_hit(one, [{"timestamp": moment} for moment in moments]) == expected


ADDRESSES = st.ip_addresses(v=4).map(str) | st.sampled_from(
    ["10.1.2.3", "10.255.0.1", "192.168.1.7", "172.16.0.1", "172.31.255.255", "172.32.0.0", "10.0.0.01", "10.0.0", "",
     "10.0.0.256", "x10.0.0.1", "10.0.0.1\n", "::ffff:10.0.0.1", "::FFFF:10.0.0.1", "fe80::1"]
)  # fmt: skip
NETWORKS = st.sampled_from(
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/25", "0.0.0.0/0", "127.0.0.1/32", "10.1.2.3", "192.0.0.0/7"]
) | st.integers(0, 32).flatmap(
    lambda bits: st.ip_addresses(v=4).map(lambda a: str(ipaddress.ip_network(f"{a}/{bits}", strict=False)))
)


@given(networks=st.lists(NETWORKS, min_size=1, max_size=3), values=st.lists(ADDRESSES | st.none(), max_size=8))
@EXAMPLES
def test_networks_hold_the_ipv4_addresses_that_python_says_they_hold(
    networks: list[str], values: list[str | None]
) -> None:
    def inside(value: str | None) -> bool:
        text = re.sub("^::ffff:", "", value or "", flags=re.IGNORECASE)
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in networks)

    rows = [{SOURCE + "ip": value} for value in values] or [{}]
    expected = [inside(row.get(SOURCE + "ip")) for row in rows]
    assert rows_hit(rule({"source": {"ip": {"cidr": networks}}}), rows) == expected


@pytest.mark.parametrize(
    ("short", "value"),
    [(True, "true"), (False, "false"), (500, "500"), (1.5, "1.5"), (1e16, "1e+16"), ([5, True], "true")],
)
def test_a_value_is_compared_as_a_reader_writes_it(short: Any, value: str) -> None:
    assert rows_hit(rule({"source": {"x": short}}), [{SOURCE + "x": value}, {SOURCE + "x": None}]) == [True, False]


def test_the_shards_own_columns_end_with_sifting_and_one_that_is_not_there_is_missing() -> None:
    rules = [rule({"source": {"status": {"at_least": 500}}}), rule({"source": {"other": {"exists": False}}}, id="none")]
    events = frame([{SOURCE + "status": "503"}, {SOURCE + "status": None}])
    sifted = sift(events, rules)
    assert [name for name in sifted.columns if name.startswith(SOURCE)] == []
    assert sifted["rule_ids"].to_list() == [["r", "none"], ["none"]]
