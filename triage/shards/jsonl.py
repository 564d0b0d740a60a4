"""JSONL shards: records by byte ranges, or in sequence from a compressed shard, each parsed on its own.

A record belongs to the slice in which its line starts. Blank lines are not records; a record that is not valid
UTF-8 is refused rather than altered.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

import orjson
import pyarrow as pa

from triage.records import Reading, Shard, Slice
from triage.shards.normalise import events_of
from triage.shards.rows import CHUNK_BYTES, SliceRows, with_quarantine
from triage.shards.store import open_store

BOM = b"\xef\xbb\xbf"


def read_jsonl(reading: Reading, slice_bytes: int, max_record_bytes: int) -> Iterator[SliceRows]:
    """The slices of a reading of a JSONL shard."""
    if reading.slices is None:
        yield from _read_sequence(reading, slice_bytes, max_record_bytes)
        return
    (piece,) = reading.slices
    with _open(reading.shard) as stream:
        records = _records_of_range(stream, piece, max_record_bytes)
        yield _jsonl_rows(piece, True, records, max_record_bytes)


def lines(shard: Shard, start: int) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line) from the first line that starts at `start` or later; from the beginning of a compressed
    shard."""
    with _open(shard) as stream:
        if shard.compression:
            yield from _records(stream, 0, CHUNK_BYTES)
        else:
            yield from _records_of_range(stream, Slice(shard, start, shard.size_bytes), CHUNK_BYTES)


def keys(shard: Shard, max_record_bytes: int) -> set[str]:
    """The keys of the records in the first MiB, nested ones with dots."""
    with _open(shard) as stream:
        head = io.BytesIO(stream.read(CHUNK_BYTES))
    names: set[str] = set()
    for _, line in _records(head, 0, max_record_bytes):
        try:
            _name_keys("", orjson.loads(line), names)
        except orjson.JSONDecodeError:
            continue
    return names


def _open(shard: Shard) -> pa.NativeFile:
    store, path = open_store(shard.uri)
    if shard.compression == "gzip":
        return store.open_input_stream(path, compression="gzip")
    if shard.compression == "zstd":
        return store.open_input_stream(path, compression="zstd")
    return store.open_input_file(path)


def _records(stream: Any, position: int, max_record_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line without its newline and byte order mark) from `position` on. Of a line longer than
    `max_record_bytes` only the first `max_record_bytes + 1` bytes are kept, so that its length tells."""
    keep = max_record_bytes + 1
    start = b"" if position else stream.read(len(BOM))
    line, stored = b"", len(start) if start == BOM else 0  # what is kept of the line, and how many bytes were met
    chunk = start.removeprefix(BOM) + stream.read(CHUNK_BYTES)
    while chunk:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield position, line + part[: keep - len(line)]
            position += stored + len(part) + 1
            line, stored = b"", 0
        line, stored = line + rest[: keep - len(line)], stored + len(rest)
        chunk = stream.read(CHUNK_BYTES)
    if stored:
        yield position, line


def _records_of_range(file: pa.NativeFile, piece: Slice, max_record_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The records that start in the slice. A line starts at byte 0 and after every newline."""
    start = piece.start
    if start:
        file.seek(start - 1)
        start -= 1
        while start < piece.stop:
            chunk = file.read(min(CHUNK_BYTES, piece.stop - start))
            if not chunk:
                return
            newline = chunk.find(b"\n")
            if newline >= 0:
                start += newline + 1
                file.seek(start)
                break
            start += len(chunk)
    yield from takewhile(lambda record: record[0] < piece.stop, _records(file, start, max_record_bytes))


def _read_sequence(reading: Reading, slice_bytes: int, max_record_bytes: int) -> Iterator[SliceRows]:
    """A compressed shard, read once: slice k holds the records that start in its k-th `slice_bytes`."""
    left = reading.max_rows
    with _open(reading.shard) as stream:
        records = _records(stream, 0, max_record_bytes)
        upcoming = next(records, None)
        while upcoming is not None:
            first = upcoming[0] // slice_bytes
            piece = Slice(reading.shard, first * slice_bytes, (first + 1) * slice_bytes)
            batch = [upcoming]
            upcoming = None
            for record in records:
                if record[0] >= piece.stop:
                    upcoming = record
                    break
                batch.append(record)
            rows = _jsonl_rows(piece, upcoming is None, iter(batch), max_record_bytes)
            if left is not None and rows.rows_in >= left:
                cut = piece if rows.rows_in == left else Slice(piece.shard, piece.start, piece.stop, left)
                yield _jsonl_rows(cut, True, iter(batch), max_record_bytes)
                return
            left = None if left is None else left - rows.rows_in
            yield rows


def _jsonl_rows(piece: Slice, last: bool, records: Iterator[tuple[int, bytes]], max_record_bytes: int) -> SliceRows:
    """Parse the records of a slice, each on its own."""
    positions: list[int] = []
    objects: list[Mapping[str, Any]] = []
    lines: list[bytes] = []
    refused: list[tuple[int, str, bytes]] = []
    rows_in = 0
    for position, line in records:
        if is_blank(line, max_record_bytes):
            continue
        if rows_in == piece.max_rows:
            break
        rows_in += 1
        reason, value = _parse(line, max_record_bytes)
        if reason:
            refused.append((position, reason, line[:max_record_bytes]))
        else:
            positions.append(position)
            objects.append(value)
            lines.append(line)
    events = events_of(positions, objects, piece.shard.fields)
    return with_quarantine(piece, last, rows_in, events, lambda index: lines[index], refused)


def is_blank(line: bytes, max_record_bytes: int) -> bool:
    """Whether the line is no record. One that was cut is: nobody saw its end."""
    return len(line) <= max_record_bytes and not line.strip()


def _parse(line: bytes, max_record_bytes: int) -> tuple[str, Any]:
    """(why the record is refused or "", its value)."""
    if len(line) > max_record_bytes:
        return f"longer than {max_record_bytes} bytes; only these are kept", None
    try:
        value = orjson.loads(line)
        if line.count(b"{") + line.count(b"[") > _SAFE_DEPTH:
            orjson.dumps(value)  # it reads deeper than it writes, and what cannot be written cannot be a message
    except orjson.JSONEncodeError:
        return "JSON nested too deeply", None
    except orjson.JSONDecodeError as problem:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"not UTF-8 at byte {wrong.start} of the line", None
        return f"broken JSON at byte {problem.pos} of the line", None
    if not isinstance(value, dict):
        return f"not an object but {_JSON_TYPES.get(type(value), 'a value')}", None
    return "", value


_SAFE_DEPTH = 200
_JSON_TYPES = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _name_keys(prefix: str, value: Any, names: set[str], depth: int = 0) -> None:
    if isinstance(value, dict) and depth < 8:
        for key, nested in value.items():
            names.add(prefix + key)
            _name_keys(f"{prefix}{key}.", nested, names, depth + 1)
