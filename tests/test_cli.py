"""Wrong input ends in one clear line and the right exit code, before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.conftest import WriteJob, write_tiny_model
from triage.custody import registry

TRIAGE = Path(sys.executable).with_name("triage")


def triage(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TRIAGE, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("triage: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.usefixtures("models")
class TestWrongInput:
    def test_a_missing_path(self, write_job: WriteJob, tmp_path: Path) -> None:
        path = write_job(["x"])
        refused(triage("run", path, "--input", tmp_path / "nowhere"), 2, "nowhere", "no such file or folder")

    def test_a_missing_job_file(self, tmp_path: Path) -> None:
        refused(triage("run", tmp_path / "no.toml"), 2, "no.toml", "no such file", "expected a job file")

    def test_an_unknown_key(self, write_job: WriteJob) -> None:
        path = write_job(["x"], '[model]\nnmae = "default"\n')
        refused(triage("run", path), 2, "job.toml [model]", "'nmae'", "did you mean 'name'?")

    def test_a_model_that_is_not_there(self, write_job: WriteJob) -> None:
        refused(triage("run", write_job(["x"]), "--model", "defualt"), 2, "'defualt'", "did you mean 'default'?")

    def test_a_model_that_nobody_approved(self, write_job: WriteJob) -> None:
        registry.revoke("default")
        refused(triage("run", write_job(["x"])), 2, "not approved", "triage models approve default")

    def test_an_output_that_cannot_be_written(self, write_job: WriteJob, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        refused(
            triage("run", write_job(["x"]), "--output", tmp_path / "file" / "out"), 2, "cannot be written", "--output"
        )

    def test_a_column_that_no_shard_has(self, write_job: WriteJob) -> None:
        path = write_job(["x"], fields='message = "mesage"')
        refused(triage("plan", path), 2, "'mesage'", "did you mean 'message'?")

    def test_an_option_that_does_not_exist(self, write_job: WriteJob) -> None:
        refused(triage("run", write_job(["x"]), "--fast"), 2, "--fast", "--help")

    def test_a_folder_that_is_no_output(self, tmp_path: Path) -> None:
        refused(triage("show", tmp_path), 2, "no run.json there")

    def test_weights_that_run_code(self, tmp_path: Path) -> None:
        model = write_tiny_model(tmp_path / "pickled")
        (model / "pytorch_model.bin").write_bytes(b"\x80\x04")
        refused(triage("models", "add", "pickled", "--from", model), 2, "pytorch_model.bin", "safetensors only")

    def test_failures_as_json(self, write_job: WriteJob) -> None:
        done = triage("run", write_job(["x"]), "--model", "nobody", "--json")
        assert (done.returncode, done.stderr) == (2, "")
        assert set(orjson.loads(done.stdout)["error"]) == {"exit", "what", "where", "expected", "next"}


def test_a_changed_byte_of_weights_stops_the_run_before_any_work(
    models: Path, write_job: WriteJob, tmp_path: Path
) -> None:
    weights = models / "default" / "weights" / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    path = write_job(["x"])
    done = triage("run", path, "--json")
    assert done.returncode == 3
    assert "has changed since it was recorded" in orjson.loads(done.stdout)["error"]["what"]
    assert not list((tmp_path / "out" / "receipts").iterdir())
    refused(triage("models", "verify", "default"), 3, "model.safetensors", "has changed since it was recorded")


@pytest.mark.usefixtures("models")
def test_a_shard_that_cannot_be_read_is_an_exit_code_of_its_own(write_job: WriteJob, tmp_path: Path) -> None:
    path = write_job(["session opened"])
    (tmp_path / "shards" / "empty.parquet").write_bytes(b"")
    assert triage("plan", path).returncode == 6
    assert triage("plan", path, "--json").returncode == 6


@pytest.mark.usefixtures("models")
def test_plan_says_what_would_be_read_and_asked_and_writes_nothing(write_job: WriteJob, tmp_path: Path) -> None:
    path = write_job(["session 1 opened", "session 2 opened", "failed"])
    planned = orjson.loads(triage("plan", path, "--json").stdout)
    assert planned["totals"] == {
        "rows": 3,
        "quarantined": 0,
        "settled": 0,
        "ruled": 0,
        "corrected": 0,
        "known": 0,
        "questions": 2,
    }
    assert not (tmp_path / "out").exists()
