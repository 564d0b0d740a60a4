"""The house keeps its shape: schemas are generated, arrows point one way, documents and code agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from triage.schema import schemas

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_schemas_in_the_repository_are_those_of_the_code(name: str) -> None:
    path = ROOT / "schemas" / f"{name}.schema.json"
    assert orjson.loads(path.read_bytes()) == schemas()[name], "run: python -m triage.schema schemas/"


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_word_of_a_command_in_the_readme_is_one_of_the_program() -> None:
    from triage.cli import cli

    named = set(re.findall(r"^\s*\.venv/bin/triage (\w+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= set(cli.commands)


def test_locks_hold_exact_versions_and_nothing_that_breaks_the_cpu_build() -> None:
    for lock in (ROOT / "setup").glob("*.lock"):
        lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+( --hash=sha256:[0-9a-f]{64})?", line) for line in lines), lock
    names = {line.partition("==")[0] for line in (ROOT / "setup" / "cpu.lock").read_text().splitlines()}
    assert not names & {"torchvision", "torchaudio", "torchcodec"}
