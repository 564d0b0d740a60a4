"""Promises of looking around: the record itself with its neighbours, as they stand, in the version that was judged."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from tests.shards.build import ANY_FORMAT, PACK, harvest, line_of, write_any, write_parquet
from triage.errors import ShardUnreadable
from triage.shards.around import around

MESSAGES = [f"line {n}" for n in range(10)]


@pytest.mark.parametrize(("index", "count", "shown"), [(5, 2, (3, 8)), (0, 2, (0, 3)), (9, 3, (6, 10)), (4, 0, (4, 5))])
@ANY_FORMAT
def test_a_record_is_shown_between_its_neighbours(
    tmp_path: Path, name: str, index: int, count: int, shown: tuple[int, int]
) -> None:
    found = harvest(write_any(tmp_path / name, MESSAGES))
    shard, positions = found.slices[0].slice.shard, found.positions
    lines = around(shard, positions[index], count)
    assert [position for position, _ in lines] == positions[slice(*shown)]
    assert [orjson.loads(text)["m"] for _, text in lines] == MESSAGES[slice(*shown)]


@pytest.mark.parametrize("suffix", sorted(PACK))
def test_blank_lines_are_no_neighbours_and_long_ones_are(tmp_path: Path, suffix: str) -> None:
    records = [b"\xef\xbb\xbf" + line_of("first"), b"", line_of("x" * 100_000), b"\r", b"caf\xe9\r", line_of("last")]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](b"\n".join(records)))
    found = harvest(path, max_record_bytes=1 << 20)
    texts = [text for _, text in around(found.slices[0].slice.shard, found.positions[-1], 3)]
    assert texts == ['{"m":"first"}', records[2].decode(), "caf\\xe9", '{"m":"last"}']


def test_parquet_rows_that_are_not_utf8_are_shown_escaped(tmp_path: Path) -> None:
    nested = pa.StructArray.from_arrays([pa.array([b"ok", b"caf\xe9"]).view(pa.string())], ["t"])
    path = write_parquet(
        tmp_path / "a.parquet", n=nested, l=pa.array([["a"], []]), t=pa.array([1, 2], pa.timestamp("ns"))
    )
    shard = harvest(path, message="n.t").slices[0].slice.shard
    rows = [orjson.loads(text) for _, text in around(shard, 0, 1)]
    assert [row["n"] for row in rows] == [{"t": "ok"}, {"t": "caf\\xe9"}]
    assert rows[0]["l"] == ["a"]


@ANY_FORMAT
def test_a_shard_that_changed_is_not_shown(tmp_path: Path, name: str) -> None:
    shard = harvest(write_any(tmp_path / name, ["a"])).slices[0].slice.shard
    write_any(tmp_path / name, ["another", "b"])
    with pytest.raises(ShardUnreadable, match="changed since"):
        around(shard, 0, 1)
