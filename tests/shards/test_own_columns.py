"""What rules read of a shard's own columns reaches sifting as text, and changes nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shards.build import write_parquet
from triage.columns import EVENTS, SOURCE
from triage.errors import WrongInput
from triage.job import Input
from triage.prefilter.rules import Rule, sources
from triage.prefilter.sift import sift
from triage.records import Plan
from triage.shards.plan import plan
from triage.shards.read import SliceRows, read

RECORDS: list[dict[str, Any]] = [
    {"m": "one", "status": 503, "user": {"name": "root", "groups": ["a"]}, "ok": True, "when": "2026-01-01"},
    {"m": "two", "status": 200, "user": {"name": "eve", "groups": []}, "ok": None, "when": None},
    {"m": "three", "status": None, "user": None, "ok": False, "when": ""},
]
TESTED = {"status": "r", "user.name": "r", "user.groups": "r", "ok": "r"}


def planned(path: Path, tested: dict[str, str], **fields: str) -> Plan:
    table = Input.model_validate({"paths": [str(path)], "fields": fields})
    return plan([table], slice_bytes=1 << 22, max_record_bytes=1 << 20, tested=tested)


def rows(path: Path, tested: dict[str, str], **fields: str) -> SliceRows:
    (reading,) = planned(path, tested, **fields).readings
    (only,) = read(reading, slice_bytes=1 << 22, max_record_bytes=1 << 20)
    return only


def write(folder: Path, name: str, records: list[dict[str, Any]] = RECORDS) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_bytes(b"\n".join(map(orjson.dumps, records)))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("fields", [{"message": "m"}, {}, {"message": "m", "user": "user.name"}])
def test_they_are_text_beside_the_canonical_columns_which_stay_as_they_are(
    tmp_path: Path, name: str, fields: dict[str, str]
) -> None:
    path = write(tmp_path, name)
    events = rows(path, TESTED, **fields).events
    assert events.select(list(EVENTS)).equals(rows(path, {}, **fields).events)
    own = events.select(pl.col(f"^{SOURCE}.*$"))
    assert set(own.dtypes) == {pl.String}
    assert own.to_dict(as_series=False) == {
        "source.ok": ["true", None, "false"],
        "source.status": ["503", "200", None],
        "source.user.groups": ['["a"]', "[]", None],
        "source.user.name": ["root", "eve", None],
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_rules_hit_by_them_and_verdicts_do_not_hold_them(tmp_path: Path, name: str) -> None:
    when = {"source": {"status": {"at_least": 500}, "user.name": "ROOT"}, "message": {"contains": "o"}}
    rule = Rule.model_validate({"id": "r", "because": "a test", "settle": "review", "when": when})
    read_by = sources([rule])
    assert read_by == {"status": "r", "user.name": "r"}
    sifted = sift(rows(write(tmp_path, name), read_by, message="m").events, [rule])
    assert sifted["rule_ids"].to_list() == [["r"], [], []]
    assert not [column for column in sifted.columns if column.startswith(SOURCE)]


def test_a_parquet_shard_is_read_no_further_than_rules_and_fields_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.parquet")
    asked: list[list[str]] = []
    batches = pq.ParquetFile.iter_batches

    def spied(self: pq.ParquetFile, *args: Any, columns: list[str], **more: Any) -> Any:
        asked.append(columns)
        return batches(self, *args, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spied)
    rows(path, {"user.name": "r"}, message="m")
    assert asked == [["m", "user"]]


def test_slices_are_others_where_rules_read_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl")
    ids = {rows(path, tested, message="m").slice.id("configuration") for tested in ({}, {"ok": "r"}, {"ok": "other"})}
    assert len(ids) == 2


def test_damage_in_what_only_rules_read_costs_no_row(tmp_path: Path) -> None:
    """Such bytes are escaped, in plain columns and in nested ones."""
    damaged = pa.array([b"sound", b"\xff\xfe"], pa.binary()).view(pa.string())
    nested = pa.StructArray.from_arrays([damaged], ["name"])
    stamp = pa.array([datetime(2026, 1, 1), None])
    path = write_parquet(tmp_path / "a.parquet", m=["one", "two"], x=damaged, user=nested, stamp=stamp)
    only = rows(path, {"x": "r", "user.name": "r", "stamp": "r"}, message="m")
    assert only.quarantine.is_empty()
    assert only.events["source.x"].to_list() == ["sound", "\\xff\\xfe"]
    assert only.events["source.user.name"].to_list() == ["sound", "\\xff\\xfe"]
    assert only.events["source.stamp"].to_list() == ["2026-01-01 00:00:00", None]
    assert rows(path, {"m": "r"}, message="x").quarantine.height == 1


def test_a_column_that_no_parquet_shard_has_is_refused_with_its_rule(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet")
    write_parquet(tmp_path / "b.parquet", m=["x"], other=["y"])
    assert len(planned(tmp_path, {"other": "r", "user.name": "r"}, message="m").readings) == 2
    with pytest.raises(WrongInput) as refused:
        planned(tmp_path, {"other": "r", "user.nam": "root-did-it"}, message="m")
    line = str(refused.value)
    assert all(words in line for words in ("'user.nam'", "'root-did-it'", "did you mean 'user.name'"))
    assert "\n" not in line


def test_in_jsonl_a_column_may_come_late_or_not_at_all(tmp_path: Path) -> None:
    late = [{"m": "x" * 1000} for _ in range(1100)] + [{"m": "last", "status": 500}]
    only = rows(write(tmp_path, "a.jsonl", late), {"status": "r", "never": "r"}, message="m")
    assert only.events["source.status"].drop_nulls().to_list() == ["500"]
    assert only.events["source.never"].null_count() == only.events.height
    write(tmp_path, "b.parquet")
    assert len(planned(tmp_path, {"never": "r"}, message="m").readings) >= 2
