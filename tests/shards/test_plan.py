"""Promises of planning: what paths name, what columns exist, and the first N rows, known before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shards.build import ANY_FORMAT, CANARY, Harvest, harvest, write_any, write_jsonl, write_parquet
from triage.errors import ShardUnreadable, WrongInput
from triage.job import Input
from triage.shards.plan import plan, shard_named

TREE = (
    "a.jsonl", "b1.jsonl", "b2.parquet", "notes.txt", ".hidden.jsonl", "_tmp/x.jsonl", "deep/c.jsonl.gz",
    "deep/.work/y.jsonl", "deep/er/d.ndjson.zst",
)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_any(path, [name])
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["a.jsonl"], ["a.jsonl"]),
        (["."], ["a.jsonl", "b1.jsonl", "b2.parquet", "deep/c.jsonl.gz", "deep/er/d.ndjson.zst"]),
        (["deep/"], ["deep/c.jsonl.gz", "deep/er/d.ndjson.zst"]),
        (["b*"], ["b1.jsonl", "b2.parquet"]),
        (["*/*.gz"], ["deep/c.jsonl.gz"]),
        (["?.jsonl"], ["a.jsonl"]),
        (["b[13].*"], ["b1.jsonl"]),
        (["b[!1].*"], ["b2.parquet"]),
        (["deep/**/d.*"], ["deep/er/d.ndjson.zst"]),
        (["**/c.*"], ["deep/c.jsonl.gz"]),
        (["deep/e**"], ["deep/er/d.ndjson.zst"]),
        (["b2.parquet", "b*", "a.jsonl", "b1.jsonl"], ["b2.parquet", "b1.jsonl", "a.jsonl"]),
    ],
    ids=str,
)
def test_files_folders_and_globs_name_each_shard_once_and_sorted(
    tree: Path, patterns: list[str], names: list[str]
) -> None:
    assert harvest(*(tree / pattern for pattern in patterns)).messages == names


def test_a_shard_of_two_inputs_is_read_for_the_first(tree: Path) -> None:
    tables = [Input(paths=[str(tree / "a.jsonl")], fields={"message": "m"}), Input(paths=[str(tree / "*.jsonl")])]
    readings = plan(tables, slice_bytes=1024, max_record_bytes=1024).readings
    assert [Path(reading.shard.uri).name for reading in readings] == ["a.jsonl", ".hidden.jsonl", "b1.jsonl"]
    assert [len(reading.shard.fields) for reading in readings] == [1, 0, 0]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("gone.jsonl", "no such file or folder"),
        ("gone/*.jsonl", "no file matches"),
        ("_tmp/../empty", "no files there"),
        ("texts", "none of the files there is a shard"),
        ("notes.txt", "not the name of a shard"),
        ("nowhere://x/a.jsonl", "cannot be opened"),
    ],
)
def test_a_path_that_names_no_shard_is_wrong_input_that_names_it(tree: Path, pattern: str, what: str) -> None:
    (tree / "empty").mkdir()
    (tree / "texts").mkdir()
    (tree / "texts" / "a.txt").touch()
    path = pattern if "://" in pattern else str(tree / pattern)
    with pytest.raises(WrongInput) as refusal:
        harvest(path)
    assert refusal.value.exit_code == 2
    assert str(refusal.value).startswith(f"{path}: {what}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_mapped_column_that_no_shard_has_is_wrong_input_that_lists_the_columns(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongInput, match=r"no shard has the column 'line'.*expected one of m") as refusal:
        harvest(write_any(tmp_path / name, [CANARY]), message="line")
    assert "canary" not in str(refusal.value)


def test_a_mapped_column_that_only_some_shards_have_is_null_in_the_others(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", m=["a"], h=["web1"])
    write_parquet(tmp_path / "b.parquet", m=["b"])
    write_jsonl(tmp_path / "c.jsonl", ["c"])
    found = harvest(tmp_path, message="m", host="h")
    assert found.events.select("message", "host").rows() == [("a", "web1"), ("b", None), ("c", None)]


def rows_of(found: Harvest) -> list[tuple[str, int]]:
    """(message, position) in plan order."""
    return [row for part in found.slices for row in part.events.select("message", "position").rows()]


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 7, 10, 11, 19, 20, 99])
@ANY_FORMAT
def test_limit_rows_takes_exactly_the_first_rows_in_plan_order(tmp_path: Path, name: str, limit: int) -> None:
    for shard in ("1", "2"):
        write_any(tmp_path / f"{shard}{name}", [f"{shard} {n}" for n in range(10)])
    whole = harvest(tmp_path, slice_bytes=45)
    found = harvest(tmp_path, slice_bytes=45, limit_rows=limit)
    assert rows_of(found) == rows_of(whole)[:limit]
    assert found.plan.rows_known == min(limit, 20)
    uncut = [part.slice for part in found.slices if part.slice.max_rows is None]
    assert uncut == [part.slice for part in whole.slices][: len(uncut)]
    assert len(found.slices) - len(uncut) <= 1


def test_limit_rows_counts_what_is_quarantined_and_not_what_is_blank(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"m":"a"}\n\nbroken\n\n{"m":"b"}\n{"m":"c"}')
    found = harvest(path, slice_bytes=4, limit_rows=3)
    assert (found.messages, found.quarantine.height) == (["a", "b"], 1)


def test_a_shard_is_found_again_only_in_the_version_that_was_judged(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["a"])
    shard = harvest(path).plan.readings[0].shard
    assert shard_named(shard.uri, shard.version).version == shard.version
    write_jsonl(path, ["a", "b"])
    with pytest.raises(ShardUnreadable, match="has changed since it was judged"):
        shard_named(shard.uri, shard.version)
    path.unlink()
    with pytest.raises(ShardUnreadable, match="is gone"):
        shard_named(shard.uri, shard.version)
