"""A rule file is sound, or refused in one line that names the file and the rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from triage.errors import WrongInput
from triage.prefilter.rules import load

RULE = '[[rule]]\nid = "{id}"\nbecause = "a test"\n'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('mark = true\nwhne.message = "x"', ["unknown key 'whne'", "did you mean 'when'"]),
        ('mark = true\nwhen.message = "x"\ntag = ["t"]', ["unknown key 'tag'", "did you mean 'tags'"]),
        ('mark = true\nwhen.message = { contain = "x" }', ["contain", "did you mean 'contains'"]),
        ('mark = true\nwhen.mesage = "x"', ["no canonical column 'mesage'", "did you mean 'message'"]),
        ('mark = true\nwhen.message = { matches = "(" }', ["message matches", "regex"]),
        ('mark = true\nsettle = "benign"\nwhen.message = "x"', ["exactly one of settle, raise and mark"]),
        ('when.message = "x"', ["exactly one of settle, raise and mark"]),
        ("mark = true\nwhen.message = {}", ["the test of 'message' is empty"]),
        ("mark = true\nwhen = {}", ["when"]),
        ("mark = true", ["when"]),
        ('mark = false\nwhen.message = "x"', ["mark"]),
        ('raise = "benign"\nwhen.message = "x"', ["raise"]),
        ('mark = true\nwhen.message = { in = "x" }', ["in"]),
    ],
)
def test_an_unsound_rule_is_refused_with_its_file_and_number(tmp_path: Path, body: str, says: list[str]) -> None:
    path = tmp_path / "mine.toml"
    good = RULE.format(id="good") + 'mark = true\nwhen.message = "x"\n'
    path.write_text(good + RULE.format(id="bad") + body)
    with pytest.raises(WrongInput) as refused:
        load([str(path)])
    line = str(refused.value)
    assert "\n" not in line
    assert f"{path} rule 2 (bad)" in line
    assert all(words in line for words in says), line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\nid = ", "not TOML"),
        ("[rules]\n", "unknown key 'rules'"),
        ("[rule]\nid = 'x'\n", "[[rule]]"),
        ("rule = [1]\n", "[[rule]]"),
        (RULE.format(id="Has Space") + 'mark = true\nwhen.message = "x"', "id"),
        (2 * (RULE.format(id="same") + 'mark = true\nwhen.message = "x"\n'), "'same' is used twice"),
        (RULE.format(id="builtin.hides-text") + 'mark = true\nwhen.message = "x"\n', "used twice"),
    ],
)
def test_an_unsound_file_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as refused:
        load([str(path)])
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_files_and_empty_folders_are_named(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none.toml", "no such file"), (tmp_path, "no rule files there")):
        with pytest.raises(WrongInput, match=says) as refused:
            load([str(path)])
        assert str(path) in str(refused.value)


def test_rules_keep_the_order_of_their_files_after_the_built_in_ones(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.toml").write_text(RULE.format(id=name) + 'mark = true\nwhen.message = "x"')
    ids = [rule.id for rule in load([str(tmp_path)])]
    assert ids[-2:] == ["a", "b"]
    assert all(name.startswith("builtin.") for name in ids[:-2])
