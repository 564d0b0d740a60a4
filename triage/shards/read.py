"""Readings to slices of events, with what could not be read beside them.

Promises: a record belongs to the slice in which it starts; memory is bounded by the slice and one record; a row
that cannot be read is quarantined with its position, reason and bytes, and its neighbours are read; blank lines
are not records. A JSONL record that is not valid UTF-8 is quarantined rather than altered. Positions are row
indexes in Parquet and byte offsets of the line's start, uncompressed, in JSONL.

Raises ShardUnreadable where a shard, or the rest of one, cannot be read at all. Log text is never in a reason.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from triage.columns import EVENTS, QUARANTINE
from triage.errors import ShardUnreadable
from triage.records import Reading, Shard, Slice
from triage.shards.normalise import as_text, canonical_json, events_of, reach, with_time
from triage.shards.store import open_store, stat

CHUNK_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"
_STORE_PROBLEMS = (OSError, pa.ArrowException, EOFError)


@dataclass(frozen=True, slots=True)
class SliceRows:
    """One slice as read. `rows_in` counts records met, before any was refused."""

    slice: Slice
    last: bool
    rows_in: int
    events: pl.DataFrame
    quarantine: pl.DataFrame


def read(reading: Reading, *, slice_bytes: int, max_record_bytes: int) -> Iterator[SliceRows]:
    """The slices of `reading`, in sequence. Raises ShardUnreadable also for a shard that changed since the plan."""
    shard = reading.shard
    try:
        if (now := stat(shard.uri).version) != shard.version:
            raise ShardUnreadable(
                f"changed since the plan: version {now}", where=shard.uri, expected=f"version {shard.version}"
            )
        if shard.format == "parquet":
            yield from _read_parquet(reading)
        elif reading.slices is None:
            yield from _read_sequence(reading, slice_bytes, max_record_bytes)
        else:
            (piece,) = reading.slices
            with _open(shard) as stream:
                records = _records_of_range(stream, piece, max_record_bytes)
                yield _jsonl_rows(piece, True, records, max_record_bytes)
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None


def columns(shard: Shard, max_record_bytes: int) -> set[str]:
    """The source columns that `shard` shows, nested ones with dots: all of a Parquet shard's, those in the first
    MiB of a JSONL shard's."""
    try:
        if shard.format == "parquet":
            names: set[str] = set()
            schema = parquet_footer(shard).schema.to_arrow_schema()
            for field in schema:
                _name_columns(field.name, field.type, names)
            return names
        with _open(shard) as stream:
            head = io.BytesIO(stream.read(CHUNK_BYTES))
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None
    names = set()
    for _, line in _records(head, 0, max_record_bytes):
        try:
            _name_keys("", orjson.loads(line.removeprefix(BOM)), names)
        except orjson.JSONDecodeError:
            continue
    return names


def parquet_footer(shard: Shard) -> pq.FileMetaData:
    """The footer of a Parquet shard. Raises ShardUnreadable."""
    store, path = open_store(shard.uri)
    try:
        with store.open_input_file(path) as file:
            return pq.read_metadata(file)
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None


def lines(shard: Shard, start: int) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line) of a JSONL shard from the first line that starts at `start` or later; from the beginning
    of a compressed one. Raises ShardUnreadable."""
    try:
        with _open(shard) as stream:
            if shard.compression:
                yield from _records(stream, 0, CHUNK_BYTES)
            else:
                yield from _records_of_range(stream, Slice(shard, start, shard.size_bytes), CHUNK_BYTES)
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None


def rows_as_text(shard: Shard, start: int, stop: int) -> list[tuple[int, str]]:
    """(row index, the row as JSON) of rows `start` to `stop` of a Parquet shard. Raises ShardUnreadable."""
    store, path = open_store(shard.uri)
    try:
        with store.open_input_file(path) as file:
            parquet = pq.ParquetFile(file)
            groups, first = _groups_between(parquet.metadata, start, stop)
            rows = parquet.read_row_groups(groups).slice(start - first, stop - start).to_pylist()
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None
    return [(start + number, canonical_json(row)) for number, row in enumerate(rows)]


def _unreadable(shard: Shard, problem: BaseException) -> ShardUnreadable:
    # Only the kind of a decoder's complaint and our own words: its text may quote the data.
    kind = type(problem).__name__
    detail = problem.strerror if isinstance(problem, OSError) and problem.strerror else ""
    if not detail:
        what = "Parquet" if shard.format == "parquet" else f"{shard.compression or 'JSONL'} data"
        detail = f"damaged or incomplete {what}"
    return ShardUnreadable(f"{detail} ({kind})", where=shard.uri, next="repair or remove the shard")


def _open(shard: Shard) -> pa.NativeFile:
    store, path = open_store(shard.uri)
    if shard.compression == "gzip":
        return store.open_input_stream(path, compression="gzip")
    if shard.compression == "zstd":
        return store.open_input_stream(path, compression="zstd")
    return store.open_input_file(path)


# JSONL


def _records(stream: Any, position: int, max_record_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line without its newline) from `position` on. Of a line longer than `max_record_bytes` only
    the first `max_record_bytes + 1` bytes are kept, so that its length tells."""
    tail = b""
    while chunk := stream.read(CHUNK_BYTES):
        lines = (tail + chunk).split(b"\n")
        tail = lines.pop()
        for line in lines:
            yield position, line
            position += len(line) + 1
        if len(tail) > max_record_bytes:
            yield position, tail[: max_record_bytes + 1]
            position += len(tail)
            tail = b""
            while chunk := stream.read(CHUNK_BYTES):
                head, newline, rest = chunk.partition(b"\n")
                position += len(head) + len(newline)
                if newline:
                    tail = rest
                    break
            # What follows the long line may hold whole lines already.
            *lines, tail = tail.split(b"\n")
            for line in lines:
                yield position, line
                position += len(line) + 1
    if tail:
        yield position, tail


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
    for position, stored in records:
        line = stored.removeprefix(BOM) if position == 0 else stored
        if not line.strip():
            continue
        if rows_in == piece.max_rows:
            break
        rows_in += 1
        reason, value = _parse(line, max_record_bytes)
        if reason:
            refused.append((position, reason, line))
        else:
            positions.append(position)
            objects.append(value)
            lines.append(line)
    events = events_of(positions, objects, piece.shard.fields)
    return _with_quarantine(piece, last, rows_in, events, lambda index: lines[index], refused)


def _parse(line: bytes, max_record_bytes: int) -> tuple[str, Any]:
    """(why the record is refused or "", its value)."""
    if len(line) > max_record_bytes:
        return f"longer than {max_record_bytes} bytes; only these are kept", None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as problem:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"not UTF-8 at byte {wrong.start} of the line", None
        return f"broken JSON at byte {problem.pos} of the line", None
    except RecursionError:
        return "JSON nested too deeply", None
    if not isinstance(value, dict):
        return f"not an object but {_JSON_TYPES.get(type(value), 'a value')}", None
    return "", value


_JSON_TYPES = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _with_quarantine(
    piece: Slice,
    last: bool,
    rows_in: int,
    events: pl.DataFrame,
    bytes_of: Callable[[int], bytes],
    refused: list[tuple[int, str, bytes]],
) -> SliceRows:
    """Move events without a message to the quarantine, and build its frame."""
    source = dict(piece.shard.fields).get("message", "message")
    silent = events["message"].is_null()
    for index in silent.arg_true().to_list():
        refused.append((events["position"][index], f"field {source!r} is missing or null", bytes_of(index)))
    refused.sort(key=lambda row: row[0])
    quarantine = pl.DataFrame([(piece.shard.uri, *row) for row in refused], schema=QUARANTINE, orient="row")
    return SliceRows(piece, last, rows_in, events.filter(~silent), quarantine)


def _name_keys(prefix: str, value: Any, names: set[str], depth: int = 0) -> None:
    if isinstance(value, dict) and depth < 8:
        for key, nested in value.items():
            names.add(prefix + key)
            _name_keys(f"{prefix}{key}.", nested, names, depth + 1)


# Parquet


def _read_parquet(reading: Reading) -> Iterator[SliceRows]:
    """Decode the reading's row groups once, in batches, and hand out its slices."""
    shard, slices = reading.shard, reading.slices or ()
    store, path = open_store(shard.uri)
    sources = dict(shard.fields)
    with store.open_input_file(path) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=CHUNK_BYTES)
        groups, first_row = _groups_between(parquet.metadata, slices[0].start, slices[-1].stop)
        wanted = None
        if "message" in sources:
            top = set(parquet.schema_arrow.names)
            wanted = sorted({s if s in top else s.split(".")[0] for s in sources.values()} & top)
        rows_per_batch = max(1, min(16_384, *(s.stop - s.start for s in slices)))
        batches = parquet.iter_batches(rows_per_batch, row_groups=groups, columns=wanted)
        held: list[pa.RecordBatch] = []
        held_start = held_stop = first_row
        for number, piece in enumerate(slices):
            while held_stop < piece.stop:
                batch = next(batches)
                held.append(batch)
                held_stop += batch.num_rows
            table = pa.Table.from_batches(held)
            rows = min(piece.stop - piece.start, piece.max_rows or piece.stop)
            part = table.slice(piece.start - held_start, rows)
            yield _parquet_rows(piece, number == len(slices) - 1, part)
            held = table.slice(piece.stop - held_start).to_batches()
            held_start = piece.stop


def _groups_between(footer: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold rows `start` to `stop`, and the first row of the first."""
    groups: list[int] = []
    row = first = 0
    for index in range(footer.num_row_groups):
        rows = footer.row_group(index).num_rows
        if rows and row < stop and row + rows > start:
            first = row if not groups else first
            groups.append(index)
        row += rows
    return groups, first


def _parquet_rows(piece: Slice, last: bool, table: pa.Table) -> SliceRows:
    positions = range(piece.start, piece.start + table.num_rows)
    refused: list[tuple[int, str, bytes]] = []
    try:
        table.validate(full=True)  # text in Parquet may be any bytes
        events = _parquet_events(positions, table, piece.shard.fields)
    except (pa.ArrowInvalid, pl.exceptions.PolarsError):
        keep = []
        for index, position in enumerate(positions):
            try:
                table.slice(index, 1).combine_chunks().validate(full=True)
                keep.append(index)
            except pa.ArrowInvalid:
                refused.append((position, "text that is not UTF-8", _raw_bytes(table.slice(index, 1))))
        events = events_of(
            [positions[i] for i in keep], [table.slice(i, 1).to_pylist()[0] for i in keep], piece.shard.fields
        )
    kept = {position: index for index, position in enumerate(positions)}

    def bytes_of(index: int) -> bytes:
        row = kept[events["position"][index]]
        return canonical_json(table.slice(row, 1).to_pylist()[0]).encode()

    return _with_quarantine(piece, last, table.num_rows, events, bytes_of, refused)


def _raw_bytes(row: pa.Table) -> bytes:
    """The row's text columns as the bytes they are, a line each."""
    cells = []
    for name, column in zip(row.column_names, row.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            value = column.combine_chunks().view(pa.binary() if pa.types.is_string(column.type) else pa.large_binary())[
                0
            ]
            cells.append(name.encode() + b"=" + (value.as_py() or b""))
    return b"\n".join(cells)


def _parquet_events(positions: range, table: pa.Table, fields: tuple[tuple[str, str], ...]) -> pl.DataFrame:
    """Canonical columns by polars where the types allow it, value by value where they do not."""
    sources = dict(fields)
    if "message" not in sources:
        return events_of(positions, table.to_pylist(), fields)
    columns: dict[str, pl.Series] = {"position": pl.Series(positions, dtype=pl.Int64)}
    for column in EVENTS:
        if column == "position":
            continue
        if (source := sources.get(column)) is None or (
            source.split(".")[0] not in table.column_names and source not in table.column_names
        ):
            columns[column] = pl.repeat(None, table.num_rows, dtype=pl.String, eager=True)
            continue
        if source in table.column_names:
            series = pl.Series(source, pl.from_arrow(table.column(source)))
        else:
            top = source.split(".")[0]
            nested = [reach({top: value}, source) for value in table.column(top).to_pylist()]
            series = pl.Series([as_text(value) for value in nested], dtype=pl.String)
        columns[column] = series if column == "timestamp" else _series_as_text(series)
    return with_time(pl.DataFrame(columns))


def _series_as_text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String:
        return series
    if series.dtype == pl.Binary:
        series.cast(pl.String)  # raises where a value is not UTF-8: then the rows are tried one by one
        return series.cast(pl.String)
    if isinstance(series.dtype, pl.Categorical | pl.Enum) or series.dtype.is_integer():
        return series.cast(pl.String)
    return pl.Series([as_text(value) for value in series.to_list()], dtype=pl.String)


def _name_columns(name: str, type_: pa.DataType, names: set[str]) -> None:
    names.add(name)
    if pa.types.is_struct(type_):
        for nested in type_:
            _name_columns(f"{name}.{nested.name}", nested.type, names)
