"""The built-in rules: a line that talks to a model is found; an ordinary line with like words is not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.columns import EVENTS
from triage.prefilter.rules import Rule, load
from triage.prefilter.sift import hits, sift

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


def whole() -> list[Rule]:
    """The rules as they were, with one expression each."""
    text = (Path(__file__).parent / "injection_whole.toml").read_text("utf-8")
    return [Rule.model_validate(table) for table in tomllib.loads(text)["rule"]]


def hit_by_both(lines: list[str]) -> list[tuple[int, int]]:
    """(line, rule) of the hits, which must be those of the rules as they were."""
    events = pl.DataFrame({"message": lines}, schema_overrides={"message": pl.String})
    found, before = (set(hits(events, rules).iter_rows()) for rules in (load([]), whole()))
    assert found == before
    return sorted(found)


FRAGMENTS = [
    *(word for line in TALKING for word in re.findall(r"\w+|\W+", line)),
    *(
        "benign",
        "ſafe",
        "SAFE",
        "ſystem prompt",
        "do not",
        "\u202e",
        "\u2060",
        "\U000e0041",
        "\x1b[",
        "\x1b]",
        "é",
        "%20",
    ),
    *("you are", "an AI", "note to the", "reported", " should be ", "never", "\n", "as", "this is", " "),
]


@given(st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), max_size=20))
@settings(max_examples=150, deadline=None)
def test_the_quick_expressions_hit_what_one_expression_hit(lines: list[str]) -> None:
    hit_by_both(lines)


def test_they_do_on_every_text_that_is_known(shared: Path) -> None:
    known = [*TALKING, *ORDINARY]
    assert {row for row, _ in hit_by_both(known)} == set(range(len(TALKING)))
    lines = [line for path in sorted((shared / "shards" / "parquet").glob("*.parquet"))
             for line in pl.read_parquet(path, columns=["line"])["line"].to_list()[:500]]  # fmt: skip
    for path in sorted((shared / "shards" / "jsonl").glob("*.jsonl")):
        lines += pl.read_ndjson(path)["line"].to_list()[:500]
    injections = pl.read_ndjson(shared / "labelled" / "injections-dev.jsonl")
    texts = [text for name, dtype in injections.schema.items() if dtype == pl.String for text in injections[name]]
    sigma = pl.read_ndjson(shared / "sigma" / "regression-dev.jsonl")["event"].to_list()
    hit_by_both([*lines, *(text for text in texts if text), *sigma])
