"""`[[rule.test]]` and `triage rules check`: a rule file says what it must hit, and is held to it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from triage.cli import cli
from triage.prefilter.checks import check

ROOT = Path(__file__).resolve().parents[2]
RULE = '[[rule]]\nid = "r"\nmark = true\nbecause = "a test"\n'
FAILED_LOGINS = (
    RULE + 'when.message = { contains = "failed" }\nwindow = { by = ["user"], more_than = 2, within = "1m" }\n'
)


def checked(folder: Path, text: str) -> list[str]:
    path = folder / "r.toml"
    path.write_text(text)
    return [str(problem).removeprefix(str(path)) for problem in check([str(path)]).failed]


def test_the_rules_that_come_along_are_tested_and_hold() -> None:
    """The built-in ones and the demonstration's."""
    found = check([str(ROOT / "demo" / "rules")])
    assert [str(problem) for problem in found.failed] == []
    assert found.untested == []
    assert found.rules >= 9


def test_the_rules_in_the_documentation_are_sound(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "jobs.md").read_text("utf-8").split("## Rules\n")[1].split("\n## ")[0]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "admins.txt").write_text("root\n")
    block = "\n".join(line[4:] for line in section.split("\n\n`mark")[0].splitlines())
    (tmp_path / "r.toml").write_text(block)
    found = check([str(tmp_path)])
    assert [str(problem) for problem in found.failed] == []
    assert [rule for _, rule in found.untested] == ["sshd-session-closed", "admin-api-failing"]


def test_an_example_that_does_otherwise_is_named_by_file_and_line(tmp_path: Path) -> None:
    text = RULE + 'when.message = "x"\n[[rule.test]]\nmatch = [\n    "X",\n    "y",\n]\nno_match = ["x", "z"]\n'
    assert checked(tmp_path, text) == [
        ":9: rule 'r': match 2 of test 1 fails; expected a match",
        ":11: rule 'r': no_match 1 of test 1 fails; expected no match",
    ]


def test_examples_have_columns_and_the_shards_own(tmp_path: Path) -> None:
    text = RULE + (
        "when.source.status = { at_least = 500 }\nwhen.service = 'web'\nwhen.source.\"a.b\" = true\n[[rule.test]]\n"
        "match = [{ service = 'WEB', source = { status = 500, 'a.b' = true } }]\n"
        "no_match = [{ service = 'web', source = { status = '50x', 'a.b' = true } }, { source = { status = 501 } }]\n"
    )
    assert checked(tmp_path, text) == []
    (wrong,) = checked(tmp_path, text.replace("source = { status = 501 }", "source = { state = 501 }"))
    assert wrong.startswith(":10: rule 'r': the example has the column 'state', which the rule does not read")


@pytest.mark.parametrize(
    ("examples", "problems"),
    [
        ('match = [{ message = "failed", user = "eve", times = 3, every = "30s" }]', 0),
        ('no_match = [{ message = "failed", user = "eve", times = 3, every = "31s" }]', 0),
        ('match = [{ message = "failed", user = "eve", times = 3, every = "31s" }]', 1),
        ('no_match = [{ message = "failed", user = "eve", times = 2, every = "1s" }, { message = "failed" }]', 0),
        (
            'match = [{ message = "failed", user = "eve", times = 2, timestamp = 2026-01-01T00:00:00Z },\n'
            '{ message = "failed", user = "eve", timestamp = 2026-01-01T00:01:00Z }]\n'
            'no_match = [{ message = "failed", user = "bob", timestamp = 2026-01-01T00:01:00Z }]',
            0,
        ),
    ],
)
def test_the_events_of_a_test_stand_in_one_slice(tmp_path: Path, examples: str, problems: int) -> None:
    assert len(checked(tmp_path, f"{FAILED_LOGINS}[[rule.test]]\n{examples}\n")) == problems


def test_the_command_says_it_all_and_ends_with_2_where_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RULE + 'when.message = "x"\n' + RULE.replace('"r"', '"s"') + 'when.mesage = "x"\n')
    done = CliRunner().invoke(cli, ["rules", "check", str(tmp_path)])
    *lines, untested, summary = done.output.splitlines()
    assert done.exit_code == 2
    assert [line.split(": ")[0] for line in lines] == [f"{path}:10"]
    assert untested == f"{path}:1: rule 'r' has no test"
    assert summary.endswith("1 failed; 1 rules without a test")
    told = orjson.loads(CliRunner().invoke(cli, ["rules", "check", "--json", str(tmp_path)]).output)
    assert [problem["where"] for problem in told["failed"]] == [f"{path}:10"]
    assert told["untested"] == [[f"{path}:1", "r"]]
    path.write_text("")
    fine = CliRunner().invoke(cli, ["rules", "check", str(tmp_path)])
    assert (fine.exit_code, fine.output.count("\n")) == (0, 1)
    missing = CliRunner().invoke(cli, ["rules", "check", str(tmp_path / "none.toml")])
    assert missing.exit_code == 2
    assert "no such file" in missing.output
