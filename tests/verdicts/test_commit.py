"""A slice is written once, whole, and is committed when its receipt is there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import polars as pl
import pytest

from tests.verdicts.builders import caseload, receipt
from triage.columns import VERDICTS
from triage.errors import PromiseBroken, Stopped, WrongInput
from triage.verdicts import commit as commits
from triage.verdicts.commit import commit, held, prepare_output, receipts

VERDICT_ROWS = pl.DataFrame({"event_id": ["e1", "e2"]}).select(
    *(pl.col("event_id") if name == "event_id" else pl.lit(None, kind).alias(name) for name, kind in VERDICTS.items())
)
BAD_ROWS = caseload([], 2).quarantine


@pytest.fixture
def output(tmp_path: Path) -> Path:
    prepare_output(tmp_path / "out")
    return tmp_path / "out"


def tree(output: Path) -> dict[str, bytes]:
    files = [p for p in output.rglob("*") if p.is_file() and ".work" not in p.parts]
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in files}


def test_committing_twice_leaves_what_committing_once_does(output: Path) -> None:
    written = commit(output, receipt(), VERDICT_ROWS, BAD_ROWS)
    once = tree(output)
    assert sorted(path.partition("/")[0] for path in once) == ["quarantine", "receipts", "verdicts"]
    assert commit(output, receipt(), VERDICT_ROWS, BAD_ROWS) == written
    assert tree(output) == once
    assert receipts(output) == {"a" * 32: written}
    assert not list((output / ".work").iterdir())


def test_a_crash_at_any_step_leaves_no_receipt_and_only_whole_files_and_is_made_good(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    prepare_output(tmp_path / "sound")
    commit(tmp_path / "sound", receipt(), VERDICT_ROWS, BAD_ROWS)
    sound = tree(tmp_path / "sound")
    real = {"open": Path.open, "replace": Path.replace, "fsync": os.fsync}
    for crash_at in range(1, 100):
        steps = iter(range(1, 1000))

        def step(name: str, crash_at: int = crash_at, steps: object = steps):  # type: ignore[no-untyped-def]
            def do(*args, **options):  # type: ignore[no-untyped-def]
                if next(steps) == crash_at:  # type: ignore[call-overload]
                    raise Crash
                return real[name](*args, **options)  # type: ignore[operator]

            return do

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", step("open"))
            patch.setattr(Path, "replace", step("replace"))
            patch.setattr(os, "fsync", step("fsync"))
            try:
                commit(output, receipt(), VERDICT_ROWS, BAD_ROWS)
                crashed = False
            except Crash:
                crashed = True
        left = tree(output)
        assert left.items() <= sound.items()
        # The receipt may be there only when all that it speaks of is.
        assert f"receipts/{'a' * 32}.json" not in left or left == sound
        if not crashed:
            break
        commit(output, receipt(), VERDICT_ROWS, BAD_ROWS)
        assert tree(output) == sound
        for path in left.keys() | sound.keys():
            (output / path).unlink()
    assert crash_at > 6


def test_a_slice_without_quarantine_takes_an_older_leftover_away(output: Path) -> None:
    commit(output, receipt(), VERDICT_ROWS, BAD_ROWS)
    commit(output, receipt(), VERDICT_ROWS, BAD_ROWS.clear())
    assert not list((output / "quarantine").iterdir())
    assert list(receipts(output)["a" * 32].files) == [f"verdicts/{'a' * 32}.parquet"]


def test_output_is_its_owners_alone_even_where_it_was_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o755)
    prepare_output(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_an_output_that_cannot_be_written_is_wrong_input_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(WrongInput, match="cannot be written") as refused:
            prepare_output(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_full_disk_stops_the_run_resumably(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(commits, "publish", full)
    with pytest.raises(Stopped, match="disk is full"):
        commit(output, receipt(), VERDICT_ROWS, BAD_ROWS)
    assert not receipts(output)


def test_a_second_run_is_refused_while_the_first_holds_the_output(output: Path) -> None:
    with held(output), pytest.raises(WrongInput, match=f"another run .*process {os.getpid()}"), held(output):
        pass
    with held(output):
        pass


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"null", b'"x"', b'{"usage": 1}'])
def test_a_damaged_receipt_is_named(output: Path, damage: bytes) -> None:
    (output / "receipts" / "x.json").write_bytes(damage)
    with pytest.raises(PromiseBroken, match=r"x\.json"):
        receipts(output)
