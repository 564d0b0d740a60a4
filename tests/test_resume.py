"""A run that was stopped or killed is finished by the next: the same rows, no more, no fewer (stand-in engine)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import polars as pl
import pytest

from tests.conftest import WriteJob

ROOT = Path(__file__).resolve().parents[1]
ROWS = 240


def start(job: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "tests.slow_run", str(job)], cwd=ROOT, env=environment)


def wait_for_receipt(output: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not list(output.glob("receipts/*.json")):
        assert process.poll() is None, "the run ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_early_is_finished_by_the_next(
    how: signal.Signals, write_job: WriteJob, tmp_path: Path
) -> None:
    job = write_job([f"unit{n} failed in order" for n in range(ROWS)], "[run]\nslice_bytes = 1024\n")
    output = tmp_path / "out"
    first = start(job)
    wait_for_receipt(output, first)
    first.send_signal(how)
    code = first.wait(timeout=60)
    assert code == (4 if how == signal.SIGTERM else -how)
    committed = set(output.glob("receipts/*.json"))
    assert start(job).wait(timeout=120) == 0
    account = orjson.loads((output / "run.json").read_bytes())
    verdicts = pl.read_parquet(output / "verdicts" / "*.parquet")
    assert account["attempts"] == 2
    assert account["rows_in"] == verdicts.height == verdicts["event_id"].n_unique() == ROWS
    # What the first attempt committed stays. A worker may commit what it has in hand after its driver died.
    receipts = {p: orjson.loads(p.read_bytes()) for p in output.glob("receipts/*.json")}
    assert len(receipts) == account["slices"]
    assert {receipts[path]["attempt"] for path in committed} == {1}
    assert {receipt["attempt"] for receipt in receipts.values()} == {1, 2}
