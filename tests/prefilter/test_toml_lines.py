"""Every key of a TOML document has its line, and what only looks like a key has none."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triage.prefilter.toml_lines import Steps, line_at, lines_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def steps_of(value: Any, here: Steps = ()) -> Iterator[Steps]:
    nested = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in nested:
        yield (*here, key)
        yield from steps_of(inner, (*here, key))


def test_what_stands_in_strings_and_comments_is_no_key() -> None:
    text = (HERE / "tricky.toml").read_text("utf-8")
    lines = lines_of(text)
    by_line = text.splitlines()
    assert set(lines) == set(steps_of(tomllib.loads(text)))
    for steps, line in lines.items():
        named = [step for step in steps if isinstance(step, str)]
        if isinstance(steps[-1], str) and named[-1] not in ("qA", ""):
            assert named[-1] in by_line[line - 1], steps
    assert by_line[lines[("rule", 1)] - 1] == "[[rule]] # the second one"
    assert by_line[lines[("rule", 1, "test", 1)] - 1] == "[[rule.test]] # its second"
    assert line_at(lines, ("rule", 0, "window", "by", 2, "c", 7, "no")) == 14
    assert line_at(lines, ("none",)) == 1


ODD = "a#\"'\\\n[]{},= ."
KEYS = st.text(ODD, max_size=3)
VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(ODD, max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in text) + '"'


def written(value: Any, draw: st.DataObject) -> str:
    """`value` in one of TOML's ways."""
    gap = draw.draw(st.sampled_from(["", " ", "\n", " # ]\n"]))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = "'" not in value and "\n" not in value
        return f"'{value}'" if plain and draw.draw(st.booleans()) else quoted(value)
    if isinstance(value, list):
        return "[" + gap + f",{gap}".join(written(one, draw) + gap for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {written(one, draw)}" for key, one in value.items()) + "}"
    return str(value)


@given(document=st.dictionaries(KEYS, VALUES, max_size=4), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_keys_found_are_those_that_tomllib_reads(document: dict[str, Any], data: st.DataObject) -> None:
    text = "".join(f"{quoted(key)} = {written(value, data)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    assert set(lines_of(text)) == set(steps_of(document))


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "pyproject.toml",
        *(p for name in ("demo", "triage", "tests") for p in sorted((ROOT / name).rglob("*.toml"))),
    ],
    ids=lambda path: path.name,
)
def test_the_projects_own_files(path: Path) -> None:
    text = path.read_text("utf-8")
    assert set(lines_of(text)) == set(steps_of(tomllib.loads(text)))
