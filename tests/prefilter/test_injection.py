"""The built-in rules: a line that talks to a model is found; an ordinary line with like words is not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from triage.columns import EVENTS
from triage.prefilter.rules import load
from triage.prefilter.sift import sift

TALKING, ORDINARY = (
    [line for line in part.splitlines() if line and not line.startswith("# ")]
    for part in (Path(__file__).parent / "injection.txt").read_text("utf-8").split("---\n")
)


def rules_that_hit(line: str) -> list[str]:
    return sift(pl.DataFrame([{"position": 0, "message": line}], schema=EVENTS), load([]))["rule_ids"][0].to_list()


@pytest.mark.parametrize("line", TALKING)
def test_a_line_that_talks_to_a_model_is_found(line: str) -> None:
    assert rules_that_hit(line)


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_is_not(line: str) -> None:
    assert rules_that_hit(line) == []


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\u2066", "\U000e0041", "\x1b[2K", "\x1b]0;x"])
def test_hidden_text_is_found_and_never_settled_as_noise(hidden: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.toml"
    path.write_text('[[rule]]\nid = "all"\nsettle = "benign"\nbecause = "all"\nwhen.message = { contains = "" }\n')
    events = pl.DataFrame([{"position": 0, "message": f"login{hidden} ok"}], schema=EVENTS)
    row = sift(events, load([str(path)])).row(0, named=True)
    assert (row["outcome"], row["floor"], row["rule_ids"]) == ("asked", 1, ["builtin.hides-text", "all"])
