"""What rules say of events: every event gets one outcome, and no rule lowers what another raised."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.columns import EVENTS, LABELS
from triage.prefilter.rules import Rule
from triage.prefilter.sift import sift

WORDS = st.text(alphabet="abAB .*[é\n1", max_size=5)


def rule(id: str = "r", when: Any = "x", column: str = "message", **fields: Any) -> Rule:
    actions = fields if {"settle", "raise", "mark"} & set(fields) else {**fields, "mark": True}
    return Rule.model_validate({"id": id, "because": "a test", "when": {column: when}, **actions})


def events(*values: str | None, column: str = "message") -> pl.DataFrame:
    rows = [{"position": i, "message": "", column: value} for i, value in enumerate(values)]
    return pl.DataFrame(rows, schema=EVENTS)


def hits(one: Rule, values: list[str | None], column: str = "message") -> list[bool]:
    return [ids == [one.id] for ids in sift(events(*values, column=column), [one])["rule_ids"].to_list()]


def fold(text: str) -> str:
    return text.lower()


ORACLE: dict[str, Any] = {
    "equals": lambda value, word: fold(value) == fold(word),
    "in": lambda value, words: fold(value) in map(fold, words),
    "contains": lambda value, word: fold(word) in fold(value),
    "starts_with": lambda value, word: fold(value).startswith(fold(word)),
    "ends_with": lambda value, word: fold(value).endswith(fold(word)),
    "matches": lambda value, word: re.search(word, value) is not None,
}


@pytest.mark.parametrize("operator", ORACLE)
@given(data=st.data(), values=st.lists(WORDS | st.none(), max_size=8))
@settings(max_examples=40, deadline=None)
def test_each_operator_does_as_plain_python_and_a_missing_value_meets_none(
    operator: str, data: st.DataObject, values: list[str | None]
) -> None:
    operand: Any = data.draw(st.lists(WORDS, max_size=3) if operator == "in" else WORDS)
    if operator == "matches":
        operand = re.escape(operand)
    expected = [value is not None and ORACLE[operator](value, operand) for value in values]
    assert hits(rule(when={operator: operand}, column="user"), values, "user") == expected


@pytest.mark.parametrize(
    ("when", "value", "hit"),
    [
        ("Info", "INFO", True),
        (4625, "4625", True),
        (["info", "debug"], "Debug", True),
        (["info", 3], "3", True),
        ({"matches": "Root"}, "root", False),
        ({"matches": "(?i)Root"}, "root", True),
        ({"contains": "a", "ends_with": "z"}, "abz", True),
        ({"contains": "a", "ends_with": "z"}, "ab", False),
        ({"contains": ".*"}, "abc", False),
    ],
)
def test_short_forms_and_several_operators(when: Any, value: str, hit: bool) -> None:
    assert hits(rule(when=when), [value]) == [hit]


@pytest.mark.parametrize(
    ("actions", "outcome", "floor", "deciding"),
    [
        (["settle benign"], "noise", 0, 0),
        (["settle benign", "raise review"], "asked", 1, 1),
        (["settle benign", "settle review"], "ruled", 1, 1),
        (["settle review", "raise escalate"], "ruled", 2, 1),
        (["raise review", "settle escalate"], "ruled", 2, 1),
        (["raise review", "raise escalate", "raise escalate"], "asked", 2, 1),
        (["mark", "settle benign"], "noise", 0, 1),
        (["mark"], "asked", 0, 0),
        ([], "asked", 0, None),
    ],
)
def test_the_highest_label_wins_and_its_rule_stands_first(
    actions: list[str], outcome: str, floor: int, deciding: int | None
) -> None:
    rules = [
        rule(f"r{i}", tags=[f"t{i}"], **{a.split()[0]: (a.split()[1:] or [True])[0]}) for i, a in enumerate(actions)
    ]
    row = sift(events("x"), rules).row(0, named=True)
    assert (row["outcome"], row["floor"]) == (outcome, floor)
    assert sorted(row["rule_ids"]) == [f"r{i}" for i in range(len(actions))]
    assert row["rule_ids"][:1] == ([] if deciding is None else [f"r{deciding}"])
    assert sorted(row["tags"]) == [f"t{i}" for i in range(len(actions))]


RULES = st.builds(
    lambda action, word, op: (action, {op: [word] if op == "in" else word}),
    st.sampled_from([{"mark": True}, *({"settle": x} for x in LABELS), {"raise": "review"}, {"raise": "escalate"}]),
    st.sampled_from(["a", "b", "ab", ""]),
    st.sampled_from(["equals", "in", "contains", "starts_with", "ends_with", "matches"]),
)


@given(st.lists(RULES, max_size=6), st.lists(st.text("aAb", max_size=3), max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_event_gets_one_outcome_and_none_is_lost(
    drawn: list[tuple[dict[str, Any], dict[str, Any]]], messages: list[str]
) -> None:
    rules = [rule(f"r{i}", when, **action) for i, (action, when) in enumerate(drawn)]
    before = events(*messages)
    after = sift(before, rules)
    assert after.select(before.columns).equals(before)
    by_id = {r.id: r for r in rules}
    for row in after.iter_rows(named=True):
        hit = [by_id[i] for i in row["rule_ids"]]
        settled = max((LABELS.index(r.settle) for r in hit if r.settle), default=None)
        floor = max((LABELS.index(label) for r in hit if (label := r.settle or r.raise_)), default=0)
        expected = "ruled" if settled else "noise" if settled == floor == 0 else "asked"
        assert (row["outcome"], row["floor"]) == (expected, floor)
