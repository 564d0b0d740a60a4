"""Promises of reading: every record once, where it stands; the unreadable named and kept, its neighbours read."""

from __future__ import annotations

import gzip
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shards.build import CANARY, MAX_RECORD, PACK, harvest, line_of, write_any, write_jsonl, write_parquet
from triage.errors import ShardUnreadable
from triage.shards import jsonl, read

BOM = b"\xef\xbb\xbf"
QUICK = settings(max_examples=60, deadline=None)

LINES = st.one_of(
    st.text(max_size=40).map(line_of),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    st.sampled_from([b"", b"\r", b"  \t", b"[1]", b"null", b'{"m": null}', b'{"x": 1}', b'{"m": "\xff"}', BOM]),
    st.integers(1, 5000).map(lambda size: line_of("x" * size)),
    st.integers(1, 5000).map(lambda size: b" " * size),
)
FILES = st.tuples(
    st.sampled_from([b"", BOM]), st.lists(LINES, max_size=15), st.sampled_from([b"\n", b"\r\n"]), st.booleans()
).map(lambda f: f[0] + f[2].join(f[1]) + (f[2] if f[3] else b""))


def oracle(data: bytes) -> list[int]:
    """Offsets of the records, by splitting the whole file. Of a line that is too long nobody sees that it is blank."""
    offsets, position = [], 0
    for line in data.split(b"\n"):
        seen = line.removeprefix(BOM) if position == 0 else line
        if seen.strip() or len(seen) > MAX_RECORD:
            offsets.append(position)
        position += len(line) + 1
    return offsets


@QUICK
@given(data=FILES, slice_bytes=st.integers(1, 200), chunk=st.integers(1, 300), suffix=st.sampled_from(sorted(PACK)))
def test_every_jsonl_record_is_in_exactly_one_slice(data: bytes, slice_bytes: int, chunk: int, suffix: str) -> None:
    slice_bytes = max(slice_bytes, len(data) // 40)  # tens of slices, not tens of thousands
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "CHUNK_BYTES", chunk)
        path = Path(folder) / f"a.jsonl{suffix}"
        path.write_bytes(PACK[suffix](data))
        found = harvest(path, slice_bytes=slice_bytes, message="")
        assert found.positions == oracle(data)
        assert all(rows.slice.stop - rows.slice.start <= slice_bytes for rows in found.slices)
        ranges = [(rows.slice.start, rows.slice.stop) for rows in found.slices]
        assert ranges == sorted(set(ranges))
        if suffix:
            assert all(reading.slices is None for reading in found.plan.readings)
            assert [rows.last for rows in found.slices[-1:]] == [True] * bool(found.slices)
        for position, kept in found.quarantine.select("position", "bytes").iter_rows():
            there = data[position:].split(b"\n")[0]
            assert kept == (there.removeprefix(BOM) if position == 0 else there)[:MAX_RECORD]


RECORDS = st.dictionaries(
    st.sampled_from(["m", "x", "a.b", "a", "t"]),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["b", "c"]), inner, max_size=2),
        max_leaves=4,
    )
    | st.sampled_from(["2026-11-22T10:00:00Z", "1700000000", "2026-11-22"]),
).map(orjson.dumps)
DEEP = st.integers(150, 260).map(lambda depth: b'{"m":' * depth + b"1" + b"}" * depth)


@QUICK
@given(
    lines=st.lists(RECORDS | DEEP | LINES, max_size=12),
    plain=st.lists(RECORDS, max_size=12),
    limit=st.none() | st.integers(0, 9),
    fields=st.sampled_from([{"message": "m", "host": "a.b", "user": "x", "timestamp": "t"}, {"message": ""}]),
    suffix=st.sampled_from(sorted(PACK)),
)
def test_records_read_together_are_what_they_are_each_on_its_own(
    lines: list[bytes], plain: list[bytes], limit: int | None, fields: dict[str, str], suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "CHUNK_BYTES", 300)
        path = Path(folder) / f"a.jsonl{suffix}"
        path.write_bytes(PACK[suffix](b"\n".join([b'{"m":1,"a":{"b":2},"x":3,"t":4}', *plain, *lines, *plain])))
        together = harvest(path, slice_bytes=500, limit_rows=limit, **fields)
        patch.setattr(jsonl, "_all_plain", lambda block, max_record_bytes: None)
        alone = harvest(path, slice_bytes=500, limit_rows=limit, **fields)
        assert together.events.equals(alone.events)
        assert together.quarantine.equals(alone.quarantine)
        assert [part.rows_in for part in together.slices] == [part.rows_in for part in alone.slices]


@QUICK
@given(
    rows=st.integers(0, 60),
    row_group_size=st.integers(1, 30),
    slice_bytes=st.integers(1, 600),
    fields=st.sampled_from([{"message": "m"}, {"message": ""}, {"message": "m", "host": "nested.h"}]),
)
def test_every_parquet_row_is_in_exactly_one_slice(
    rows: int, row_group_size: int, slice_bytes: int, fields: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        messages = [None if row % 7 == 6 else f"line {row}" for row in range(rows)]
        path = write_parquet(
            Path(folder) / "a.parquet",
            row_group_size,
            m=pa.array(messages, pa.string()),
            nested=pa.array([{"h": f"h{row}"} for row in range(rows)], pa.struct({"h": pa.string()})),
        )
        found = harvest(path, slice_bytes=slice_bytes, **fields)
        assert found.positions == list(range(rows))
        if fields["message"] == "m":
            assert dict(found.events.select("position", "message").iter_rows()) == {
                row: text for row, text in enumerate(messages) if text
            }
        if "host" in fields:
            assert all(host == f"h{row}" for row, host in found.events.select("position", "host").iter_rows())


def test_an_over_large_row_group_is_cut_in_several_slices_of_one_reading(tmp_path: Path) -> None:
    found = harvest(write_parquet(tmp_path / "a.parquet", m=[f"{n:064}" for n in range(1000)]), slice_bytes=10_000)
    assert len(found.plan.readings) == 1
    assert len(found.slices) > 5
    assert [rows.last for rows in found.slices] == [False] * (len(found.slices) - 1) + [True]


@pytest.mark.parametrize(
    ("data", "messages", "reasons"),
    [
        pytest.param(b"", [], [], id="empty"),
        pytest.param(b"\n\r\n  \n", [], [], id="blank lines"),
        pytest.param(b'{"m":"a"}\r\n{"m":"b"}\r\n', ["a", "b"], [], id="CRLF"),
        pytest.param(BOM + b'{"m":"a"}\n{"m":"b"}', ["a", "b"], [], id="BOM, no last newline"),
        pytest.param(b'{"m":"caf\xe9"}\n{"m":"b"}', ["b"], ["not UTF-8 at byte 9 of the line"], id="not UTF-8"),
        pytest.param(b'{"m":"canary\n{"m":"b"}', ["b"], ["broken JSON at byte 12 of the line"], id="broken JSON"),
        pytest.param(
            b'["canary"]\n7\nnull\n"canary"\ntrue\n',
            [],
            [f"not an object but {kind}" for kind in ("a list", "a number", "null", "a string", "a boolean")],
            id="other JSON",
        ),
        pytest.param(
            b'{"m":null,"x":"canary"}\n{"x":"canary"}', [], ["field 'm' is missing or null"] * 2, id="no message"
        ),
        pytest.param(b'{"m":7}\n{"m":1.5}\n{"m":true}', ["7", "1.5", "true"], [], id="numbers"),
        pytest.param(b'{"m":{"b":[1,"x"]}}\n{"m":""}', ['{"b":[1,"x"]}', ""], [], id="record as message"),
        pytest.param(b'{"m":' * 500 + b"1" + b"}" * 500, [], ["JSON nested too deeply"], id="deep"),
        pytest.param(b'{"m":' * 5000 + b"1" + b"}" * 5000, [], ["broken JSON at byte 5121 of the line"], id="deeper"),
    ],
)
def test_what_real_jsonl_shards_contain(tmp_path: Path, data: bytes, messages: list[str], reasons: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    found = harvest(path, max_record_bytes=1 << 20)
    assert (found.messages, found.reasons) == (messages, reasons)
    assert set(found.quarantine["bytes"]) <= set(data.splitlines())


@pytest.mark.parametrize("suffix", sorted(PACK))
@pytest.mark.parametrize("long", [b'{"m":"' + b"x" * 9000 + b'"}', b" " * 9000 + b'{"m":"canary"}'], ids=["x", "pad"])
@pytest.mark.parametrize("before", [b"", BOM, b'{"m":"a"}\n'], ids=["first", "BOM", "second"])
def test_a_record_that_is_too_long_is_quarantined_and_its_neighbours_are_read(
    tmp_path: Path, suffix: str, long: bytes, before: bytes
) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](before + long + b'\n{"m":"b"}\n'))
    found = harvest(path, slice_bytes=1000)
    assert found.messages == ["a"] * (before[:1] == b"{") + ["b"]
    assert found.reasons == [f"longer than {MAX_RECORD} bytes; only these are kept"]
    assert found.quarantine["bytes"].to_list() == [long[:MAX_RECORD]]


def test_a_line_of_10_mb_is_read(tmp_path: Path) -> None:
    found = harvest(write_jsonl(tmp_path / "a.jsonl", ["x" * 10_000_000, "b"]), max_record_bytes=64 << 20)
    assert [len(message) for message in found.messages] == [10_000_000, 1]


def test_fields_are_reached_by_the_key_as_written_and_by_dots(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a.b":"literal","a":{"b":"x","c":{"d":"deep"}}}\n{"a":{"b":"nested","c":7}}\n{"a":7,"x":1}')
    found = harvest(path, message="a.b", host="a.c.d", user="x")
    assert found.events.select("message", "host", "user").rows() == [("literal", "deep", None), ("nested", None, None)]
    assert found.reasons == ["field 'a.b' is missing or null"]


def test_without_a_mapped_message_the_records_canonical_json_is_the_message(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"b":1,"a":{"d":2,"c":null}}')
    assert harvest(path, message="").messages == ['{"a":{"c":null,"d":2},"b":1}']


BAD = b"\xff canary"


@pytest.mark.parametrize(
    ("column", "source"),
    [
        (pa.array([b"a", BAD, b"c"]).view(pa.string()), "m"),
        (pa.array([b"a", BAD, b"c"]), "m"),
        (pa.StructArray.from_arrays([pa.array([b"a", BAD, b"c"]).view(pa.string())], ["t"]), "m.t"),
    ],
    ids=["string", "binary", "struct"],
)
def test_parquet_text_that_is_not_utf8_is_quarantined_and_its_neighbours_read_as_ever(
    tmp_path: Path, column: pa.Array, source: str
) -> None:
    times = pa.array([1_700_000_000_000_000_000 + n for n in range(3)], pa.timestamp("ns", "UTC"))
    path = write_parquet(tmp_path / "a.parquet", m=column, t=times)
    found = harvest(path, message=source, timestamp="t")
    assert (found.messages, found.reasons) == (["a", "c"], ["text that is not UTF-8"])
    assert BAD in found.quarantine["bytes"][0]
    assert found.events["timestamp"].null_count() == 0


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([b"caf\xc3\xa9"]), "café"),
        (pa.array([b"abcd"], pa.binary(4)), "abcd"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([{"b": 1, "a": "x"}]), '{"a":"x","b":1}'),
        (pa.array([["x", "y"]]), '["x","y"]'),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), '{"k":1}'),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([19_000], pa.date32()), "2022-01-08"),
        (pa.array([1_700_000_000], pa.timestamp("s")), "2023-11-14 22:13:20"),
        (pa.array([7], pa.uint64()), "7"),
        (pa.array([1.5]), "1.5"),
        (pa.array([True]), "true"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_parquet_value_of_any_type_becomes_text(tmp_path: Path, column: pa.Array, text: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", m=column, s=pa.StructArray.from_arrays([column], ["m"]))
    assert harvest(path).messages == [text]
    assert harvest(path, message="s.m").messages == [text]
    assert len(harvest(path, message="").messages) == 1


def test_a_parquet_shard_without_any_mapped_column_loses_no_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", m=["a", "b"], h=["h", "h"])
    write_parquet(tmp_path / "b.parquet", 2, other=[1, 2, 3, 4, 5])
    found = harvest(tmp_path, slice_bytes=20, message="m", host="h")
    assert (found.messages, found.reasons) == (["a", "b"], ["field 'm' is missing or null"] * 5)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_shard_that_changed_or_went_since_the_plan_is_refused(tmp_path: Path, name: str) -> None:
    path = write_any(tmp_path / name, [CANARY])
    reading = harvest(path).plan.readings[0]
    write_any(path, [CANARY, CANARY])
    with pytest.raises(ShardUnreadable, match="changed since the plan") as changed:
        list(read.read(reading, slice_bytes=100, max_record_bytes=100))
    path.unlink()
    with pytest.raises(ShardUnreadable, match="No such file") as gone:
        list(read.read(reading, slice_bytes=100, max_record_bytes=100))
    assert not any("canary" in str(problem.value) for problem in (changed, gone))


def damaged(path: Path, keep: float = 0.75, data: bytes | None = None) -> Path:
    whole = path.read_bytes() if data is None else data
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path


@pytest.mark.parametrize("fields", [{"message": "m"}, {"message": ""}], ids=["mapped", "unmapped"])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_stands_before_the_damage_of_a_compressed_shard_is_read(
    tmp_path: Path, suffix: str, fields: dict[str, Any]
) -> None:
    messages = [f"{CANARY} {n * 7919 % 100_003}" for n in range(60_000)]
    path = damaged(write_jsonl(tmp_path / f"a.jsonl{suffix}", messages))
    write_jsonl(tmp_path / "b.jsonl", ["b"])
    found = harvest(tmp_path, slice_bytes=100_000, **fields)
    assert 100 < found.events.height < 60_000
    (problem,) = found.broken
    assert f"damaged or incomplete {'gzip' if suffix == '.gz' else 'zstd'} data" in str(problem)
    assert str(path) in str(problem)
    assert "canary" not in str(problem)


@pytest.mark.parametrize("limit_rows", [None, 1])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", b""),
        ("a.parquet", CANARY.encode() * 10),
        ("a.parquet", None),
        ("a.jsonl.gz", CANARY.encode()),
        ("a.jsonl.gz", None),
        ("a.jsonl.zst", CANARY.encode()),
    ],
    ids=["0 bytes", "no Parquet", "truncated", "no gzip", "short gzip", "no zstd"],
)
def test_a_shard_that_is_no_such_thing_is_named_and_the_others_go_on(
    tmp_path: Path, name: str, data: bytes | None, limit_rows: int | None
) -> None:
    path = damaged(write_any(tmp_path / name, [CANARY] * 50), 0.75 if data is None else 1, data)
    write_jsonl(tmp_path / "b.jsonl", ["b"])
    found = harvest(tmp_path, limit_rows=limit_rows)
    named = [(item.shard, item.reason) for item in found.plan.unreadable]
    named += [(problem.where, problem.what) for problem in found.broken]
    assert [shard for shard, _ in named] == [str(path)]
    assert "damaged or incomplete" in named[0][1]
    assert "canary" not in named[0][1]
    assert found.messages == ["b"]


def test_a_compressed_shard_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(line_of("a") + b"\n") + gzip.compress(line_of("b")))
    assert harvest(path).messages == ["a", "b"]


def test_parquet_without_rows_is_read_as_nothing(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", m=pa.array([], pa.string()))
    pq.ParquetWriter(tmp_path / "b.parquet", pa.schema({"m": pa.string()})).close()
    found = harvest(tmp_path)
    assert (found.plan.readings, found.plan.unreadable, found.plan.rows_known) == ((), (), 0)
