"""Write a slice once, and say so in a receipt.

    OUTPUT/verdicts/<slice>.parquet  quarantine/<slice>.parquet  receipts/<slice>.json  run.json

Promises: each file appears whole or not at all (written beside, synced, renamed); the receipt is last, and a slice
is committed when it is there; committing twice leaves what committing once does; OUTPUT is readable by its
owner alone. A file without a receipt is a leftover, and the slice that is done again replaces it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl

from triage.errors import PromiseBroken, WrongInput
from triage.files import publish, unwritable
from triage.records import Receipt, Tally, Usage

FOLDERS: Final = ("verdicts", "quarantine", "receipts", "logs")
_WORK: Final = ".work"


def prepare_output(output: Path) -> None:
    """Make OUTPUT and its folders, mode 0700. Raises WrongInput where that cannot be written."""
    try:
        for folder in (output, *(output / name for name in (*FOLDERS, _WORK))):
            folder.mkdir(parents=folder == output, exist_ok=True, mode=0o700)
        output.chmod(0o700)
        probe = output / _WORK / f"probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as problem:
        raise WrongInput(
            f"cannot be written: {problem.strerror}",
            where=str(output),
            expected="a folder that this user may write to",
            next="choose another --output, or change its owner or mode",
        ) from None


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Keep OUTPUT to this process while the block runs. Raises WrongInput where another run has it. A lock ends
    with the process that took it, however that ends."""
    with (output / _WORK / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise WrongInput(
                f"another run is writing there (process {lock.read().strip() or 'unknown'})",
                where=str(output),
                next="wait for it, or choose another --output",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def commit(output: Path, receipt: Receipt, verdicts: pl.DataFrame, quarantine: pl.DataFrame) -> Receipt:
    """Write the slice's files, then `receipt` with their digests. Returns the receipt as written.

    `quarantine` without rows leaves no file. Raises Stopped where the disk refuses: the slice is then not committed.
    """
    try:
        files = {}
        for folder, frame in (("verdicts", verdicts), ("quarantine", quarantine)):
            target = output / folder / f"{receipt.slice_id}.parquet"
            if frame.height or folder == "verdicts":
                files[f"{folder}/{target.name}"] = _write_parquet(output, target, frame)
            else:
                target.unlink(missing_ok=True)
        whole = asdict(receipt) | {"files": files}
        write_json(output, output / "receipts" / f"{receipt.slice_id}.json", whole)
    except OSError as problem:
        raise unwritable(output, problem) from None
    return receipt_from(whole)


def receipts(output: Path) -> dict[str, Receipt]:
    """The committed slices of OUTPUT by id. Raises PromiseBroken for a receipt that is not one."""
    found = {}
    for path in sorted((output / "receipts").glob("*.json")):
        try:
            receipt = receipt_from(orjson.loads(path.read_bytes()))
        except (ValueError, TypeError, KeyError):
            raise PromiseBroken("not a receipt", where=str(path), next="remove it: its slice is done again") from None
        found[receipt.slice_id] = receipt
    return found


def withdraw(output: Path, slice_id: str) -> None:
    """Take back a slice's receipt, so that it is done again."""
    (output / "receipts" / f"{slice_id}.json").unlink(missing_ok=True)


def receipt_from(value: dict[str, Any]) -> Receipt:
    samples = {kind: Tally(**tally) for kind, tally in value["samples"].items()}
    return Receipt(**(value | {"usage": Usage(**value["usage"]), "samples": samples}))


def read_run(output: Path) -> dict[str, Any] | None:
    """OUTPUT's run.json, None where there is none. Raises PromiseBroken where it is damaged."""
    try:
        value = orjson.loads((output / "run.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise PromiseBroken("cannot be read", where=str(output / "run.json"), expected="JSON") from None
    if not isinstance(value, dict):
        raise PromiseBroken("is not the account of a run", where=str(output / "run.json"), expected="a JSON object")
    return value


def write_json(output: Path, target: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    work = _work_file(output, target)
    with work.open("wb") as file:
        file.write(data)
    publish(work, target)


def _write_parquet(output: Path, target: Path, frame: pl.DataFrame) -> str:
    work = _work_file(output, target)
    frame.write_parquet(work, compression="zstd", statistics=True)
    digest = hashlib.sha256(work.read_bytes()).hexdigest()
    publish(work, target)
    return digest


def _work_file(output: Path, target: Path) -> Path:
    return output / _WORK / f"{target.parent.name}-{target.name}-{os.getpid()}"
