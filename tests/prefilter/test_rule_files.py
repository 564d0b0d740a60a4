"""A rule file is sound, or refused in one line that names the file and the rule."""

from __future__ import annotations

import pickle
from pathlib import Path

import polars as pl
import pytest

from triage.columns import EVENTS
from triage.errors import WrongInput
from triage.prefilter.rules import load
from triage.prefilter.sift import hits
from triage.records import digest_of

RULE = '[[rule]]\nid = "{id}"\nbecause = "a test"\n'


@pytest.mark.parametrize(
    ("body", "at", "says"),
    [
        ('mark = true\nwhne.message = "x"', 2, ["unknown key 'whne'", "did you mean 'when'"]),
        ('mark = true\nwhen.message = "x"\ntag = ["t"]', 3, ["unknown key 'tag'", "did you mean 'tags'"]),
        ('mark = true\nwhen.message = { contain = "x" }', 2, ["contain", "did you mean 'contains'"]),
        ('mark = true\nwhen.mesage = "x"', 2, ["'when.mesage'", "did you mean 'message'", "under 'source'"]),
        ('mark = true\nwhen.source.a.b = "x"', 2, ["unknown key", 'quoted: source."a.b"']),
        ('mark = true\nwhen.source.a = { equal = "x" }', 2, ["did you mean 'equals'"]),
        (
            'mark = true\nwhen.message = { matches = "(" }',
            2,
            ["when.message.matches", "regular expression", "unclosed group"],
        ),
        ('mark = true\n[[rule.when.any]]\nhost = "a"\n[[rule.when.any]]\nnot = { hots = "b" }', 5, ["'host'"]),
        ('mark = true\nwhen.all = [\n# a\n{ host = "x" },\n{ host = { in = "x" } }]', 5, ["when.all.1.host.in"]),
        ("mark = true\nwhen.any = []", 2, ["when.any"]),
        ("mark = true\nwhen.not = {}", 2, ["nothing is tested"]),
        ('mark = true\nsettle = "benign"\nwhen.message = "x"', -2, ["exactly one of settle, raise and mark"]),
        ('when.message = "x"', -2, ["exactly one of settle, raise and mark"]),
        ("mark = true\nwhen.message = {}", 2, ["when.message: the test is empty"]),
        ("mark = true\nwhen = {}", 2, ["nothing is tested"]),
        ("mark = true", -2, ["'when' is missing"]),
        ('mark = false\nwhen.message = "x"', 1, ["mark"]),
        ('raise = "benign"\nwhen.message = "x"', 1, ["raise"]),
        ('mark = true\nwhen.message = { in = "x" }', 2, ["in"]),
        ('mark = true\nwhen.message = { in_file = "none.txt" }', 2, ["no such file", "none.txt"]),
        ('mark = true\nwhen.host = { cidr = ["fe80::/10"] }', 2, ["IPv4 networks"]),
        ('mark = true\nwhen.host = { cidr = ["10.0.0.1/8"] }', 2, ["without bits beyond the mask"]),
        ("mark = true\nwhen.host = { at_least = 9007199254740992 }", 2, ["2^53"]),
        ("mark = true\nwhen.host = { at_least = nan }", 2, ["2^53"]),
        ("mark = true\nwhen.host = { at_most = -1" + "0" * 400 + " }", 2, ["2^53"]),
        ('mark = true\nwhen.timestamp = { at_least = "0001-01-01T00:00:00+14:00" }', 2, ["outside the years"]),
        ("mark = true\nwhen = " + "{ not = " * 21 + '{ host = "x" }' + "}" * 21, 2, ["more than 20 deep"]),
        ("mark = true\nwhen = 3", 2, ["when: Input should be a table"]),
        ("mark = true\nwhen.host = { at_least = true }", 2, ["a number"]),
        ('mark = true\nwhen.host = { at_least = "many" }', 2, ["a number, or a time"]),
        ("mark = true\nwhen.host = { at_least = 2026-01-01T00:00:00Z }", 2, ["only timestamp is compared with times"]),
        ("mark = true\nwhen.timestamp = { at_least = 2026-01-01T00:00:00 }", 2, ["with its offset"]),
        ("mark = true\nwhen.timestamp = { at_least = 5 }", 2, ["timestamp is compared with times"]),
        ('mark = true\nwhen.timestamp = { contains = "5" }', 2, ["'contains' is not for a time"]),
        ('mark = true\nwhen.timestamp = { hours = ["1", "2"] }', 2, ["two times of the day"]),
        ('mark = true\nwhen.host = { hours = ["01:00", "02:00"] }', 2, ["for timestamp alone"]),
        ('mark = true\nwhen.host = "x"\nwindow = { more_than = 2, within = "5 min" }', 3, ["length of time", "'5m'"]),
        ('mark = true\nwhen.host = "x"\n[rule.window]\nmore_than = 0\nwithin = "1s"', 4, ["more_than"]),
        ('mark = true\nwhen.host = "x"\n[rule.window]\nby = ["hots"]', 4, ["did you mean 'host'"]),
        ('mark = true\nwhen.host = "x"\n[rule.window]\nwithn = "1s"', 4, ["did you mean 'within'"]),
        ('mark = true\nwhen.host = "x"\n[[rule.test]]\nmatches = []', 4, ["did you mean 'match'"]),
        ('mark = true\nwhen.host = "x"\n[[rule.test]]\nmatch = ["a",\n{ hst = "x" }]', 5, ["did you mean 'host'"]),
        (
            'mark = true\nwhen.host = "x"\n[[rule.test]]\nmatch = [{ times = 9999, every = "999999d" }]',
            4,
            ["beyond the year 9999"],
        ),
        ('mark = true\nwhen.host = "x"\n[[rule.test]]', 3, ["match, no_match or both"]),
    ],
)
def test_an_unsound_rule_is_refused_with_its_file_and_line(tmp_path: Path, body: str, at: int, says: list[str]) -> None:
    """`at` counts from the first line of the body; the rule's own header is two lines above that."""
    path = tmp_path / "mine.toml"
    good = RULE.format(id="good") + 'mark = true\nwhen.message.matches = """\n[[rule]]\n"""\n'
    path.write_text(good + RULE.format(id="bad") + body)
    with pytest.raises(WrongInput) as refused:
        load([str(path)])
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"{path}:{10 + at}: rule 'bad': "), line
    assert all(words in line for words in says), line


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[[rule]]\nid = ", "", "not TOML"),
        ("\n[[rule]]\nid = = 3\n", ":3", "not TOML"),
        ("\n[rules]\n", ":2", "unknown key 'rules'"),
        (RULE.format(id="a") + "when = " + "{ not = " * 5000 + "{}" + "}" * 5000, "", "nested too deeply"),
        ("[rule]\nid = 'x'\n", ":1", "[[rule]]"),
        ("\nrule = [1]\n", ":2", "[[rule]]"),
        (RULE.format(id="Has Space") + 'mark = true\nwhen.message = "x"', ":2", "id"),
        (2 * (RULE.format(id="same") + 'mark = true\nwhen.message = "x"\n'), ":7", "'same' is used twice"),
        (RULE.format(id="builtin.hides-text") + 'mark = true\nwhen.message = "x"\n', ":2", "used twice"),
    ],
)
def test_an_unsound_file_is_refused_in_one_line(tmp_path: Path, text: str, line: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(WrongInput) as refused:
        load([str(path)])
    assert str(refused.value).startswith(f"{path}{line}: ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_list_in_a_file_is_part_of_the_rule_and_a_test_is_not(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "admins.txt").write_text("# who may\n\nAlice\n  bob  \n")
    text = RULE.format(id="r") + 'mark = true\nwhen.user = { in_file = "lists/admins.txt" }\n'
    (tmp_path / "r.toml").write_text(text)

    def identity() -> str:
        return digest_of([rule.model_dump(by_alias=True) for rule in load([str(tmp_path)])])

    (*_, rule), before = load([str(tmp_path)]), identity()
    users = ["alice", "BOB", "carol", "# who may", "", None]
    events = pl.DataFrame([{"user": user, "message": ""} for user in users], schema=EVENTS)
    assert hits(events, [rule])["row"].to_list() == [0, 1]
    (tmp_path / "r.toml").write_text(text + '[[rule.test]]\nmatch = [{ user = "alice" }]\n')
    assert identity() == before
    (tmp_path / "lists" / "admins.txt").write_text("alice\n")
    assert identity() != before


def test_a_rule_is_the_same_on_another_worker(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\n")
    text = RULE.format(id="r") + 'mark = true\nwindow = { more_than = 1, within = "1s" }\n'
    text += 'when.host.in_file = "list.txt"\n'
    text += 'when.any = [{ user = "b" }, { timestamp.more_than = 2026-01-01T00:00:00Z }]\n'
    (tmp_path / "r.toml").write_text(text)
    rules = load([str(tmp_path / "r.toml")])
    assert pickle.loads(pickle.dumps(rules)) == rules


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
