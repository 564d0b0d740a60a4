"""What is said of a template holds for its events, in their own words."""

from __future__ import annotations

import time
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.condense.lines import ANY, LOG_LIKE
from triage.condense import passes
from triage.condense.slots import by_span, filled, quoted, slots, span


def template_of(message: str) -> str:
    return str(passes.masked(pl.Series([message]))[0])


@given(st.lists(ANY | LOG_LIKE, min_size=1, max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_template_with_its_slots_filled_is_the_message(lines: list[str]) -> None:
    for message, template in zip(lines, passes.masked(pl.Series(lines)), strict=True):
        assert filled(template, slots(template, message)) == message
        assert filled(message, slots(message, message)) == message  # as at the levels `exact` and `off`


@given(LOG_LIKE, st.data())
@settings(max_examples=150, deadline=None)
def test_words_of_a_template_are_found_in_every_event(message: str, data: st.DataObject) -> None:
    template = template_of(message)
    start = data.draw(st.integers(0, len(template)))
    words = template[start : start + data.draw(st.integers(1, 40))]
    found = quoted(words, template, message)
    if found is not None:
        assert found in message
        assert template_of(message) == template
        where = span(words, template)
        assert where
        assert by_span(*where, template, message) == found
    elif words.strip():
        assert span(words, template) is None
    assert by_span(0, len(template), template, message) == message


SSH = "Mar  2 08:15:30 gw1 sshd[7]: Failed password for root from 203.0.113.7 port 51022 ssh2"


@pytest.mark.parametrize(
    ("words", "message", "found"),
    [
        ("Failed password for root", SSH, "Failed password for root"),
        (" for root from <ip:public> ", SSH, "for root from 203.0.113.7"),
        ("<host> sshd[<n>]", SSH, "gw1 sshd[7]"),
        ("ip:public> port", SSH, "203.0.113.7 port"),
        ("took <n>ms", "took 3 of 5, took 12ms", "took 12ms"),
        ("took <n>ms, took", "took 12ms, took 14ms", "took 12ms, took"),
        ("denied by <time>", "denied by 08:15:30", "denied by 08:15:30"),
        ("for admin", SSH, None),
        ("<ip:public>", SSH, None),
        ("<n> <n>", "a 1 2", None),
        ("  ", SSH, None),
        ("", SSH, None),
    ],
)
def test_evidence_is_in_the_events_own_words(words: str, message: str, found: str | None) -> None:
    assert quoted(words, template_of(message), message) == found


def test_a_message_of_another_template_is_refused() -> None:
    for template, message in [("a <n> b", "a 5 c"), ("a", "b"), ("a <n>", "b 5"), ("a <n> b <n> c", "a 5 c")]:
        with pytest.raises(ValueError, match="not of the template"):
            slots(template, message)


@pytest.mark.parametrize(
    "line",
    [
        lambda n: "1 " * n,
        lambda n: "1.1.1" * n,
        lambda n: "0" * n + "x",
        lambda n: "1:1:" * n,
        lambda n: "Jan  1 01:01:01 1 " * n,
        lambda n: "a:" * n,
        lambda n: "[1]" * n,
        lambda n: "cmd=(1 " * n,
        lambda n: 'cmd="1" ' * n,
        lambda n: "1-" * n + "!",
        lambda n: "a" * n + "@",
        lambda n: "_1" * n,
        lambda n: "<n>" * n,
        lambda n: "\x01" * n,
        lambda n: "1h" * n + "!",
        lambda n: "error " * n,
        lambda n: "é1.1" * n,
    ],
)
def test_no_line_makes_masking_or_its_reversal_slow(line: partial[str]) -> None:
    message = line(20_000)
    started = time.process_time()
    template = template_of(message)
    assert filled(template, slots(template, message)) == message
    quoted(template[-200:], template, message)
    assert time.process_time() - started < 5
