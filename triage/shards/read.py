"""Readings to slices of events, with what could not be read beside them.

Promises: a record belongs to the slice in which it starts; memory is bounded by the slice and one record; a row
that cannot be read is quarantined with its position, reason and bytes, and its neighbours are read; blank lines
are not records. A JSONL record that is not valid UTF-8 is quarantined rather than altered. Positions are row
indexes in Parquet and byte offsets of the line's start, uncompressed, in JSONL.

Raises ShardUnreadable where a shard, or the rest of one, cannot be read at all. Log text is never in a reason.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from triage.columns import CANONICAL, QUARANTINE
from triage.errors import ShardUnreadable
from triage.records import Reading, Shard, Slice
from triage.shards.normalise import Fields, as_text, canonical_json, events_of, reach, with_time
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
        require_unchanged(shard)
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


def require_unchanged(shard: Shard) -> None:
    """Raise ShardUnreadable where the shard is gone or no longer of the version that is meant."""
    try:
        now = stat(shard.uri).version
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None
    if now != shard.version:
        raise ShardUnreadable(
            f"changed since the plan: version {now}", where=shard.uri, expected=f"version {shard.version}"
        )


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
            _name_keys("", orjson.loads(line), names)
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
            table = parquet.read_row_groups(groups).slice(start - first, stop - start)
    except _STORE_PROBLEMS as problem:
        raise _unreadable(shard, problem) from None
    return [(start + number, canonical_json(row)) for number, row in enumerate(_rows(_as_bytes(table)))]


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
    return _with_quarantine(piece, last, rows_in, events, lambda index: lines[index], refused)


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
                batch = next(batches, None)
                if batch is None:
                    raise pa.ArrowInvalid("fewer rows than the footer says")
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
    """Map the rows of a slice; text in Parquet may be any bytes, so rows that are not UTF-8 are set apart."""
    fields, indexes = piece.shard.fields, list(range(table.num_rows))
    table = _with_mapped_text(table, fields)
    refused: list[tuple[int, str, bytes]] = []
    sound = table
    if not _is_utf8(table):
        damaged = _damaged(table, indexes)
        for index in damaged:
            raw = b"\n".join(_leaves("", _rows(_as_bytes(_take(table, [index])))[0]))
            refused.append((piece.start + index, "text that is not UTF-8", raw))
        indexes = sorted(set(indexes) - set(damaged))
        sound = _take(table, indexes)
    events = _parquet_events([piece.start + index for index in indexes], sound, fields)
    return _with_quarantine(
        piece, last, table.num_rows, events, lambda i: canonical_json(_rows(sound.slice(i, 1))[0]).encode(), refused
    )


def _with_mapped_text(table: pa.Table, fields: Fields) -> pa.Table:
    """Categories as their values, and mapped bytes as text that nobody checked yet."""
    mapped = {source for _, source in fields}
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if name in mapped and _is_bytes(column.type):
            column = column.cast(pa.large_binary()).cast(pa.large_string(), safe=False)
        table = table.set_column(index, name, column)
    return table


def _is_bytes(type_: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_kind(type_) for is_kind in kinds)


def _is_utf8(table: pa.Table) -> bool:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _take(table: pa.Table, indexes: list[int]) -> pa.Table:
    return table.take(pa.array(indexes, pa.int64()))


def _damaged(table: pa.Table, indexes: list[int]) -> list[int]:
    """Those of the rows `indexes` whose text is not UTF-8, by halving."""
    # A slice of a struct is validated with all its neighbours; what was taken stands alone.
    if not indexes or _is_utf8(_take(table, indexes)):
        return []
    if len(indexes) == 1:
        return indexes
    half = len(indexes) // 2
    return _damaged(table, indexes[:half]) + _damaged(table, indexes[half:])


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as values of Python. By polars: pyarrow refuses nanoseconds."""
    if not table.num_columns:
        return [{} for _ in range(table.num_rows)]
    return pl.DataFrame(pl.from_arrow(table)).to_dicts()


def _as_bytes(table: pa.Table) -> pa.Table:
    """All text as the bytes it is, at whatever depth, so that it can be looked at when it is not UTF-8."""
    schema = pa.schema([(field.name, _bytes_type(field.type)) for field in table.schema])
    return _with_mapped_text(table, ()).cast(schema)


def _bytes_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _bytes_type(type_.value_type)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return pa.large_binary()
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _bytes_type(field.type)) for field in type_])
    if pa.types.is_list(type_):
        return pa.list_(_bytes_type(type_.value_type))
    return type_


def _leaves(path: str, value: Any) -> Iterator[bytes]:
    """`path=bytes` of every text in a row."""
    if isinstance(value, bytes):
        yield path.encode() + b"=" + value
    elif isinstance(value, Mapping | list):
        nested = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in nested:
            yield from _leaves(f"{path}.{key}" if path else str(key), part)


def _parquet_events(positions: Sequence[int], table: pa.Table, fields: Fields) -> pl.DataFrame:
    """Canonical columns, by polars where the types allow it, value by value where they do not."""
    sources = dict(fields)
    if "message" not in sources:
        return events_of(positions, _rows(table), fields)
    columns: dict[str, pl.Series] = {"position": pl.Series(positions, dtype=pl.Int64)}
    for column in CANONICAL:
        source = sources.get(column, "")
        top = source.split(".")[0]
        if source in table.column_names:
            series = pl.Series(pl.from_arrow(table.column(source)))
            columns[column] = series if column == "timestamp" else _series_as_text(series)
        elif top in table.column_names:
            values = pl.Series(pl.from_arrow(table.column(top))).to_list()
            columns[column] = pl.Series([as_text(reach({top: v}, source)) for v in values], dtype=pl.String)
        else:
            columns[column] = pl.repeat(None, len(positions), dtype=pl.String, eager=True)
    return with_time(pl.DataFrame(columns))


def _series_as_text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String or series.dtype.is_integer():
        return series.cast(pl.String)
    return pl.Series([as_text(value) for value in series.to_list()], dtype=pl.String)


def _name_columns(name: str, type_: pa.DataType, names: set[str]) -> None:
    names.add(name)
    if pa.types.is_struct(type_):
        for nested in type_:
            _name_columns(f"{name}.{nested.name}", nested.type, names)
