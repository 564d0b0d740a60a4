"""Log text that is shown cannot act on what shows it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.report.escape import escaped

HOSTILE = st.characters() | st.sampled_from("\x00\x1b\x7f\x85\x9b\n\r\t\u200b\u202e\u2028\u2029\u2066\ufeff\U000e0041…")


@given(st.text(HOSTILE), st.integers(1, 50) | st.none())
def test_no_character_acts_and_the_length_is_bounded(text: str, limit: int | None) -> None:
    shown = escaped(text, limit)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert len(shown.splitlines()) <= 1
    assert limit is None or len(shown) <= limit


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=30))
def test_what_is_harmless_is_shown_as_it_is(text: str) -> None:
    assert escaped(text) == escaped(text, 30) == text


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("a\x1b[2Jb", None, "a\\x1b[2Jb"),
        ("a\nb\tc", None, "a\\nb\\tc"),
        ("\u202egpj", None, "\\u202egpj"),
        ("\U000e0041", None, "\\U000e0041"),
        ("abcdef", 4, "abc…"),
        ("ab\x1b", 4, "ab\\…"),
    ],
)
def test_escapes(text: str, limit: int | None, shown: str) -> None:
    assert escaped(text, limit) == shown
