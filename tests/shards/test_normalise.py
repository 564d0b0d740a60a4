"""Promises of mapping: a time is understood or null, never another time, whatever the format of the shard."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from tests.shards.build import harvest, write_parquet

AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
MICRO = AT.replace(microsecond=123456)
MIDNIGHT = AT.replace(hour=0, minute=0, second=0)


TIMES: list[tuple[Any, datetime | None]] = [
    ("2023-11-14T22:13:20Z", AT),
    ("2023-11-14T22:13:20.123456Z", MICRO),
    ("2023-11-14T22:13:20.123456789Z", MICRO),
    ("2023-11-15T00:13:20+02:00", AT),
    ("2023-11-14 17:13:20-0500", AT),
    ("2023-11-14T22:13:20", AT),
    ("2023-11-14 22:13:20.123456", MICRO),
    ("2023-11-14", MIDNIGHT),
    ("14/Nov/2023:17:13:20 -0500", AT),
    ("1700000000", AT),
    ("1700000000.123456", MICRO),
    (1_700_000_000, AT),
    (1_700_000_000.123456, MICRO),
    (1_700_000_000_123, AT.replace(microsecond=123000)),
    (1_700_000_000_123_456, MICRO),
    (1_700_000_000_123_456_400, MICRO),
    (7, None),
    (0, None),
    (-1_700_000_000, None),
    ("7", None),
    ("99999999999999999999", None),
    ("2023-02-30T00:00:00Z", None),
    ("yesterday", None),
    ("", None),
    (None, None),
    (True, None),
    (["2023-11-14"], None),
    ({"at": 1_700_000_000}, None),
]


@pytest.mark.parametrize("as_parquet", [False, True], ids=["jsonl", "parquet"])
@pytest.mark.parametrize(("written", "meant"), TIMES, ids=str)
def test_a_time_is_understood_or_null(tmp_path: Path, written: Any, meant: datetime | None, as_parquet: bool) -> None:
    path = tmp_path / ("a.parquet" if as_parquet else "a.jsonl")
    if as_parquet:
        write_parquet(path, m=["a"], t=[written])
    else:
        path.write_bytes(orjson.dumps({"m": "a", "t": written}))
    assert harvest(path, message="m", timestamp="t").events["timestamp"].to_list() == [meant]


def test_times_of_all_forms_in_one_shard_are_each_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps({"m": "a", "t": written}) for written, _ in TIMES * 2))
    found = harvest(path, message="m", timestamp="t").events["timestamp"].to_list()
    assert found == [meant for _, meant in TIMES * 2]


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        (pa.array([1_700_000_000], pa.timestamp("s")), AT),
        (pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "UTC")), MICRO),
        (pa.array([AT], pa.timestamp("ms", "America/New_York")), AT),
        (pa.array([date(2023, 11, 14)]), MIDNIGHT),
        (pa.array([b"2023-11-14T22:13:20Z"]), AT),
        (pa.array(["2023-11-14T22:13:20Z"]).dictionary_encode(), AT),
        (pa.array([1_700_000_000], pa.int64()).cast(pa.decimal128(30, 3)), AT),
        (pa.array([1.7e9], pa.float64()), AT),
        (pa.array([float("nan")], pa.float64()), None),
        (pa.array([5], pa.duration("s")), None),
        (pa.array([5], pa.time32("s")), None),
        (pa.array([None], pa.null()), None),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
@pytest.mark.parametrize("source", ["t", "s.t"])
def test_a_time_of_any_parquet_type_is_the_same_time_at_the_top_and_nested(
    tmp_path: Path, column: pa.Array, meant: datetime | None, source: str
) -> None:
    path = write_parquet(tmp_path / "a.parquet", m=["a"], t=column, s=pa.StructArray.from_arrays([column], ["t"]))
    assert harvest(path, message="m", timestamp=source).events["timestamp"].to_list() == [meant]
