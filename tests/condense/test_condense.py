"""Masks hide what cannot change a verdict and nothing else; what is said of a template holds for its events."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.condense import mask
from triage.condense.template import condense, found_in

PAIRS = [pair.split("\n") for pair in (Path(__file__).parent / "masks.txt").read_text("utf-8").strip().split("\n\n")]

FRAGMENTS = (  # noqa: SIM905
    "2026-01-02T03:04:05Z|2026-01-02 03:04:05,123 +0100|01-02 03:04:05|2/Jan/2026:03:04:05 +0000|Jan  2 03:04:05 gw|"
    "Mon Jan 12 03:04:05 2026,|03:04:05|2026-01-02|00:1b:44:11:3a:b7|0x7f00|10.0.0.1|127.0.0.1|"
    "8.8.8.8|fe80::1|2001:db8::1|4f9d1c2a|deadbeef|1.5|0|0.0|-1|42|123456|5 ms|12kB|1/2/3|640x480|R00-M1-N2:J12-U11|"
    "core.17|blk_-1608999687919862906|from a port|from 8.8.8.8 port 22|status|exit code|error=|errno: -|port |[17]|"
    '[0]|HTTP/1.1" 200|uid=0|user7|7zip.org|3com.example|<n>|<time>|<ip:public>|\ue000|µs|audit(1364481363.243:24287)'
).split("|")
WORDS = st.sampled_from(FRAGMENTS) | st.from_regex(r"[\da-f]{1,9}", fullmatch=True)


def joined(glue: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(WORDS, st.sampled_from(glue)), max_size=7).map(lambda p: "".join(a + b for a, b in p))


TANGLED = joined(["", " ", " ", ":", "=", "-", ".", ",", "/", "x", "_", "[", "]", "(", '"', "\n", "@", "a", "5"])
LOG_LIKE = joined([" ", ", ", "=", " (", ") ", '"', "; "])


def masked(*lines: str) -> list[str]:
    return pl.DataFrame({"x": lines}, schema={"x": pl.String}).select(mask.masked(pl.col("x"))).to_series().to_list()


@pytest.mark.parametrize(("line", "template"), PAIRS)
def test_masks_do_what_the_golden_file_says(line: str, template: str) -> None:
    assert masked(line) == [template]


@given(st.lists(st.text(max_size=60) | TANGLED, max_size=40))
@settings(max_examples=60, deadline=None)
def test_masking_twice_changes_nothing_more(lines: list[str]) -> None:
    once = masked(*lines)
    assert masked(*once) == once


@given(st.lists(TANGLED, min_size=1, max_size=20), st.sampled_from(["standard", "exact"]))
@settings(max_examples=40, deadline=None)
def test_same_text_same_template_in_any_company_and_every_event_has_one(lines: list[str], level: str) -> None:
    events, templates = condense(pl.DataFrame({"message": [*lines, *lines]}), level)  # type: ignore[arg-type]
    alone = [condense(pl.DataFrame({"message": [line]}), level)[1]["template_id"][0] for line in lines[:2]]  # type: ignore[arg-type]
    ids = events["template_id"].to_list()
    assert events["message"].to_list() == [*lines, *lines]
    assert ids[: len(lines)] == ids[len(lines) :]
    assert ids[: len(alone)] == alone
    assert set(ids) == set(templates["template_id"])
    assert all(row["template_rows"] == ids.count(row["template_id"]) for row in events.iter_rows(named=True))


@given(st.lists(LOG_LIKE.filter(lambda line: "\ue000" not in line), min_size=1, max_size=20), st.data())
@settings(max_examples=80, deadline=None)
def test_evidence_found_in_a_template_is_found_in_every_event(lines: list[str], data: st.DataObject) -> None:
    for message, template in zip(lines, masked(*lines), strict=True):
        pieces = re.findall(rf"{mask.PLACEHOLDER}|.", template, re.DOTALL)
        start = data.draw(st.integers(0, len(pieces)))
        words = "".join(pieces[start : start + data.draw(st.integers(1, 12))])
        if any(piece.strip() for piece in re.split(mask.PLACEHOLDER, words)):
            found = found_in(words, message)
            assert found
            assert found in message


@pytest.mark.parametrize(
    ("words", "message", "found"),
    [
        ("denied on <time> by", "denied on Mon Mar  2 08:15:30 2026 by gw", "denied on Mon Mar  2 08:15:30 2026 by"),
        ("from <ip:public> port <n>", "x from 8.8.8.8 port 22:11", "from 8.8.8.8 port 22"),
        ("took <n>ms", "took 12ms", "took 12ms"),
        (" root ", "for root", "root"),
        ("not there", "for root", None),
        ("<n>", "5", None),
        ("  ", "5", None),
    ],
)
def test_evidence_is_in_the_events_own_words(words: str, message: str, found: str | None) -> None:
    assert found_in(words, message) == found


def test_no_line_makes_the_search_for_evidence_slow() -> None:
    assert found_in("<n> " * 20 + "x", "1 " * 2000) is None
    assert found_in("<n>.<n>1" * 10 + "x", "1.1" * 2000) is None
    assert found_in("<time> <n>" * 8 + "x", "Jan  1 01:01:01 1 " * 300) is None
