"""JSONL shards: records by byte ranges, or in sequence from a compressed shard, each parsed on its own.

A record belongs to the slice in which its line starts. Blank lines are not records; a record that is not valid
UTF-8 is refused rather than altered.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import orjson
import pyarrow as pa

from triage.records import Reading, Shard, Slice
from triage.shards.normalise import Columns
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
        blocks = _blocks_of_range(stream, piece, max_record_bytes)
        yield _jsonl_rows(piece, True, blocks, max_record_bytes)


def lines(shard: Shard, start: int) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line) from the first line that starts at `start` or later; from the beginning of a compressed
    shard."""
    with _open(shard) as stream:
        whole = Slice(shard, start, shard.size_bytes)
        blocks = _blocks(stream, 0, CHUNK_BYTES) if shard.compression else _blocks_of_range(stream, whole, CHUNK_BYTES)
        for positions, block in blocks:
            yield from zip(positions, block, strict=True)


def keys(shard: Shard, max_record_bytes: int) -> set[str]:
    """The keys of the records in the first MiB, nested ones with dots."""
    with _open(shard) as stream:
        head = io.BytesIO(stream.read(CHUNK_BYTES))
    names: set[str] = set()
    for _, block in _blocks(head, 0, max_record_bytes):
        for line in block:
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


Block = tuple[list[int], list[bytes]]
"""Byte offsets, in order, and the lines that start there, without newline and byte order mark."""


def _blocks(stream: Any, position: int, max_record_bytes: int) -> Iterator[Block]:
    """The lines from `position` on, those of a chunk together. Of a line longer than `max_record_bytes` only the first
    `max_record_bytes + 1` bytes are kept, so that its length tells."""
    keep = max_record_bytes + 1
    start = b"" if position else stream.read(len(BOM))
    line, stored = b"", len(start) if start == BOM else 0  # what is kept of the line, and how many bytes were met
    chunk = start.removeprefix(BOM) + stream.read(CHUNK_BYTES)
    while chunk:
        *ended, rest = chunk.split(b"\n")
        if ended:
            sizes = [len(part) + 1 for part in ended]
            sizes[0] += stored
            ended[0] = line + ended[0][: keep - len(line)]
            if max(sizes) > keep:
                ended = [part[:keep] for part in ended]
            *positions, position = accumulate(sizes, initial=position)
            yield positions, ended
            line, stored = b"", 0
        line, stored = line + rest[: keep - len(line)], stored + len(rest)
        chunk = stream.read(CHUNK_BYTES)
    if stored:
        yield [position], [line]


def _blocks_of_range(file: pa.NativeFile, piece: Slice, max_record_bytes: int) -> Iterator[Block]:
    """The lines that start in the slice. A line starts at byte 0 and after every newline."""
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
    for block in _blocks(file, start, max_record_bytes):
        before, after = _parted(block, piece.stop)
        yield before
        if after[0]:
            return


def _parted(block: Block, stop: int) -> tuple[Block, Block]:
    """The lines that start before `stop`, and the others."""
    positions, block_lines = block
    if positions[-1] < stop:
        return block, ([], [])
    first = bisect_left(positions, stop)
    return (positions[:first], block_lines[:first]), (positions[first:], block_lines[first:])


def _read_sequence(reading: Reading, slice_bytes: int, max_record_bytes: int) -> Iterator[SliceRows]:
    """A compressed shard, read once: slice k holds the records that start in its k-th `slice_bytes`."""
    left = reading.max_rows
    with _open(reading.shard) as stream:
        blocks = _blocks(stream, 0, max_record_bytes)
        upcoming = next(blocks, None)
        while upcoming is not None:
            first = upcoming[0][0] // slice_bytes
            piece = Slice(reading.shard, first * slice_bytes, (first + 1) * slice_bytes)
            held: list[Block] = []
            while upcoming is not None:
                before, after = _parted(upcoming, piece.stop)
                held.append(before)
                upcoming = after if after[0] else next(blocks, None)
                if after[0]:
                    break
            rows = _jsonl_rows(piece, upcoming is None, held, max_record_bytes)
            if left is not None and rows.rows_in >= left:
                cut = piece if rows.rows_in == left else Slice(piece.shard, piece.start, piece.stop, left)
                yield _jsonl_rows(cut, True, held, max_record_bytes)
                return
            left = None if left is None else left - rows.rows_in
            yield rows


def _jsonl_rows(piece: Slice, last: bool, blocks: Iterable[Block], max_record_bytes: int) -> SliceRows:
    """Parse the records of a slice. What is kept of a block are the columns: its records as Python's are the larger."""
    columns = Columns(piece.shard.fields)
    silent: dict[int, bytes] = {}  # the lines without a message, which the quarantine will ask for
    refused: list[tuple[int, str, bytes]] = []
    rows_in = 0
    for positions, block in blocks:
        at, parsed, records, wrong = _parsed(positions, block, max_record_bytes, piece.max_rows, rows_in)
        rows_in += len(at) + len(wrong)
        refused += wrong
        before = columns.height
        silent.update((before + index, parsed[index]) for index in columns.add(at, records))
        if rows_in == piece.max_rows:
            break
    return with_quarantine(piece, last, rows_in, columns.events(), silent.__getitem__, refused)


Parsed = tuple[list[int], list[bytes], list[dict[str, Any]], list[tuple[int, str, bytes]]]


def _parsed(positions: list[int], block: list[bytes], max_record_bytes: int, limit: int | None, done: int) -> Parsed:
    """(offsets, lines and values of the records, those that are refused with the reason). All at once where all lines
    are plain records, each on its own where one is not, or where `limit` may cut the block."""
    if limit is None and (records := _all_plain(block, max_record_bytes)) is not None:
        return positions, block, records, []
    at: list[int] = []
    kept: list[bytes] = []
    values: list[dict[str, Any]] = []
    refused: list[tuple[int, str, bytes]] = []
    for position, line in zip(positions, block, strict=True):
        if done == limit:
            break
        if is_blank(line, max_record_bytes):
            continue
        done += 1
        reason, value = _parse(line, max_record_bytes)
        if reason:
            refused.append((position, reason, line[:max_record_bytes]))
        else:
            at.append(position)
            kept.append(line)
            values.append(value)
    return at, kept, values, refused


def _all_plain(block: list[bytes], max_record_bytes: int) -> list[dict[str, Any]] | None:
    """The values of a block whose lines are all records that nothing is to be said of; None for any other."""
    # A record nested too deeply has as many brackets, and as many again that close them.
    long = [line for line in block if len(line) > _NEVER_DEEP]
    if long and (max(map(len, long)) > max_record_bytes or any(map(_may_be_deep, long))):
        return None
    if max_record_bytes < _NEVER_DEEP and any(len(line) > max_record_bytes for line in block):
        return None
    try:
        records = list(map(orjson.loads, block))
    except orjson.JSONDecodeError:
        return None
    return records if set(map(type, records)) <= {dict} else None


def _may_be_deep(line: bytes) -> bool:
    return line.count(b"{") + line.count(b"[") > _SAFE_DEPTH


def is_blank(line: bytes, max_record_bytes: int) -> bool:
    """Whether the line is no record. One that was cut is: nobody saw its end."""
    return len(line) <= max_record_bytes and not line.strip()


def _parse(line: bytes, max_record_bytes: int) -> tuple[str, Any]:
    """(why the record is refused or "", its value)."""
    if len(line) > max_record_bytes:
        return f"longer than {max_record_bytes} bytes; only these are kept", None
    try:
        value = orjson.loads(line)
        if _may_be_deep(line):
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
_NEVER_DEEP = 2 * _SAFE_DEPTH
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
