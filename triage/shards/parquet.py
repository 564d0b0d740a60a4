"""Parquet shards: rows by row groups, columns by what the job maps.

Text in Parquet may be any bytes: rows that are not UTF-8 are set apart, and their neighbours are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from triage.columns import CANONICAL
from triage.records import Reading, Shard, Slice
from triage.shards.normalise import Columns, Fields, as_text, canonical_json, frame_of, reach
from triage.shards.rows import CHUNK_BYTES, SliceRows, with_quarantine
from triage.shards.store import open_store

_ROWS_AT_ONCE = 4096
"""Rows as values of Python take several times what they take as columns; so few are there at a time."""


def footer(shard: Shard) -> pq.FileMetaData:
    """The footer of a shard."""
    store, path = open_store(shard.uri)
    with store.open_input_file(path) as file:
        return pq.read_metadata(file)


def column_names(shard: Shard) -> set[str]:
    """The columns of a shard, nested ones with dots."""
    names: set[str] = set()
    for field in footer(shard).schema.to_arrow_schema():
        _name_columns(field.name, field.type, names)
    return names


def rows_as_text(shard: Shard, start: int, stop: int) -> list[tuple[int, str]]:
    """(row index, the row as JSON) of rows `start` to `stop`."""
    store, path = open_store(shard.uri)
    with store.open_input_file(path) as file:
        parquet = pq.ParquetFile(file)
        groups, first = _groups_between(parquet.metadata, start, stop)
        table = parquet.read_row_groups(groups).slice(start - first, stop - start)
    return [(start + number, canonical_json(row)) for number, row in enumerate(_rows(_as_bytes(table)))]


def read_parquet(reading: Reading) -> Iterator[SliceRows]:
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
    return with_quarantine(
        piece, last, table.num_rows, events, lambda i: canonical_json(_rows(sound.slice(i, 1))[0]).encode(), refused
    )


def _with_mapped_text(table: pa.Table, fields: Fields) -> pa.Table:
    """Categories as their values, and mapped bytes as text that nobody checked yet. What only rules read is bytes
    where the message is mapped: it is read for them alone, and no damage in it may cost the row."""
    mapped = {source for column, source in fields if column in CANONICAL}
    tops = {name for source in mapped for name in (source, source.split(".")[0])}
    every = "message" not in dict(fields)
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if name in mapped and _is_bytes(column.type):
            column = column.cast(pa.large_binary()).cast(pa.large_string(), safe=False)
        elif fields and not every and name not in tops:
            column = column.cast(_bytes_type(column.type))
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
        whole = Columns(fields)
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            whole.add(positions[start : start + _ROWS_AT_ONCE], _rows(table.slice(start, _ROWS_AT_ONCE)))
        return whole.events()
    columns: dict[str, pl.Series] = {}
    for column, source in fields:
        top = source.split(".")[0]
        if source in table.column_names:
            series = pl.Series(pl.from_arrow(table.column(source)))
            columns[column] = series if column == "timestamp" else _series_as_text(series)
        elif top in table.column_names:
            values = pl.Series(pl.from_arrow(table.column(top))).to_list()
            columns[column] = pl.Series([as_text(reach({top: v}, source)) for v in values], dtype=pl.String)
        else:
            columns[column] = pl.Series(dtype=pl.String).clear(len(positions))
    return frame_of(pl.Series(positions, dtype=pl.Int64), columns)


def _series_as_text(series: pl.Series) -> pl.Series:
    if series.dtype == pl.String or series.dtype.is_integer():
        return series.cast(pl.String)
    if series.dtype == pl.Binary:
        with suppress(pl.exceptions.ComputeError):  # not UTF-8 somewhere
            return series.cast(pl.String)
    return pl.Series([as_text(value) for value in series.to_list()], dtype=pl.String)


def _name_columns(name: str, type_: pa.DataType, names: set[str]) -> None:
    names.add(name)
    if pa.types.is_struct(type_):
        for nested in type_:
            _name_columns(f"{name}.{nested.name}", nested.type, names)
