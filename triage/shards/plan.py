"""Act one: from the job's paths to readings and slices.

Promises: every record of every shard is in exactly one slice, whatever the cut; slices are bounded by
`slice_bytes` of decoded data; a shard that cannot be opened is named and the rest go on; a mapped column that no
shard has stops the run before it starts. Reads Parquet footers and the heads of JSONL shards, nothing else, unless
`limit_rows` asks for a count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

from triage.columns import SOURCE
from triage.errors import ShardUnreadable, WrongInput
from triage.job import Input, nearest
from triage.records import Compression, Plan, Reading, Shard, Slice, Unreadable
from triage.shards import parquet, read, store
from triage.shards.rows import naming

FORMATS: dict[str, Literal["parquet", "jsonl"]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}


def plan(
    inputs: Sequence[Input],
    *,
    slice_bytes: int,
    max_record_bytes: int,
    limit_rows: int | None = None,
    tested: Mapping[str, str] | None = None,
) -> Plan:
    """Find and cut the shards of `inputs`, in the order of the job file and then of their paths. `tested`: the shards'
    own columns that rules read, each with the id of a rule that does.

    Raises WrongInput for a path that names nothing, a file that is no shard, a mapped column that no shard of its
    [input] has, and a tested column that no shard has where all are Parquet: the records of a JSONL shard need not
    be alike, so there the column is missing until a record shows it.
    """
    tested = tested or {}
    readings: list[Reading] = []
    unreadable: list[Unreadable] = []
    rows_known: int | None = 0
    shards = list(_shards(inputs, max_record_bytes, tested))
    _check_tested(shards, tested)
    for shard in shards:
        try:
            if shard.format == "parquet":
                cut, rows = _cut_parquet(shard, slice_bytes)
                rows_known = None if rows_known is None else rows_known + rows
            else:
                cut = _cut_jsonl(shard, slice_bytes)
                rows_known = None if shard.size_bytes else rows_known
            readings += cut
        except ShardUnreadable as problem:
            unreadable.append(Unreadable(shard.uri, problem.what))
    if limit_rows is not None:
        readings, rows_known = _limit(readings, limit_rows, slice_bytes, max_record_bytes)
    return Plan(tuple(readings), tuple(unreadable), rows_known)


def _shards(inputs: Sequence[Input], max_record_bytes: int, tested: Mapping[str, str]) -> Iterator[Shard]:
    """The shards of all inputs, each once."""
    seen: set[str] = set()
    own = [(SOURCE + column, column) for column in tested]
    for table in inputs:
        found = {f.uri: f for pattern in table.paths for f in store.find(pattern)}
        explicit = {str(PurePosixPath(p)) if "://" not in p else p for p in table.paths}
        shards = []
        for uri, file in found.items():
            kind = _kind(uri)
            if kind is None and uri in explicit:
                raise WrongInput(
                    "not the name of a shard", where=uri, expected="a name that ends in " + ", ".join(_SUFFIXES)
                )
            if kind is not None and uri not in seen:
                fields = tuple(sorted([*table.fields.items(), *own]))
                shards.append(Shard(uri, *kind, file.size_bytes, file.version, fields))
        if not shards and not set(found) & seen:
            raise WrongInput(
                "none of the files there is a shard",
                where=table.paths[0],
                expected="names that end in " + ", ".join(_SUFFIXES),
            )
        seen |= set(found)
        _check_fields(shards, {str(c): source for c, source in table.fields.items()}, max_record_bytes)
        yield from shards


_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")


def _kind(uri: str) -> tuple[Literal["parquet", "jsonl"], Compression | None] | None:
    """Format and compression by the file's name, None where it is not a shard's."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(uri).suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    format_ = FORMATS.get(suffixes[-1]) if suffixes else None
    if format_ is None or (format_ == "parquet" and compression):
        return None
    return format_, compression


def shard_named(uri: str, version: str) -> Shard:
    """The shard at `uri` as it is now. Raises ShardUnreadable where it is gone or of another version."""
    kind = _kind(uri)
    try:
        found = store.stat(uri)
    except OSError:
        raise ShardUnreadable("is gone", where=uri) from None
    if kind is None or found.version != version:
        raise ShardUnreadable("has changed since it was judged", where=uri)
    return Shard(uri, *kind, found.size_bytes, found.version, ())


def _check_fields(shards: list[Shard], fields: Mapping[str, str], max_record_bytes: int) -> None:
    """Raise WrongInput for a mapped column that no shard has. Stops looking when all were seen."""
    missing, known = dict(fields), set[str]()
    for shard in shards:
        if not missing:
            break
        try:
            columns = read.columns(shard, max_record_bytes)
        except ShardUnreadable:
            continue  # whoever cuts or reads it names it, after what stands before the damage
        known |= columns
        missing = {c: source for c, source in missing.items() if source not in columns}
    # Where no shard shows any column, all are empty or broken: that is for the rows' own account.
    if missing and known:
        canonical, source = next(iter(missing.items()))
        raise WrongInput(
            f"no shard has the column {source!r} that {canonical} is mapped to",
            where="[input.fields]",
            expected=nearest(source, sorted(known)),
        )


def _check_tested(shards: Sequence[Shard], tested: Mapping[str, str]) -> None:
    """Raise WrongInput for a tested column that is certain to be in no shard."""
    if not tested or any(shard.format != "parquet" for shard in shards):
        return
    missing, known = dict(tested), set[str]()
    for shard in shards:
        with suppress(ShardUnreadable):
            known |= read.columns(shard, 0)
        missing = {column: rule for column, rule in missing.items() if column not in known}
        if not missing:
            return
    if known:
        column, rule = next(iter(missing.items()))
        raise WrongInput(
            f"no shard has the column {column!r} that rule {rule!r} tests",
            where="[prefilter] rules",
            expected=nearest(column, sorted(known)),
        )


def _cut_parquet(shard: Shard, slice_bytes: int) -> tuple[list[Reading], int]:
    """Runs of row groups of about `slice_bytes`; a larger row group is one reading of several slices, since the
    rows in its middle can only be reached by decoding those before them."""
    with naming(shard):
        footer = parquet.footer(shard)
    readings: list[Reading] = []
    start, row, size, stored = 0, 0, 0, 0

    def close(stop: int) -> None:
        nonlocal start, size, stored
        if stop > start:
            parts = max(1, -(-size // slice_bytes))
            rows = -(-(stop - start) // parts)
            cuts = [*range(start, stop, rows), stop]
            slices = tuple(Slice(shard, a, b) for a, b in pairwise(cuts))
            readings.append(Reading(shard, slices, stored))
        start, size, stored = stop, 0, 0

    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        if size and size + group.total_byte_size > slice_bytes:
            close(row)
        row += group.num_rows
        size += group.total_byte_size
        stored += sum(group.column(c).total_compressed_size for c in range(group.num_columns))
    close(row)
    return readings, footer.num_rows


def _cut_jsonl(shard: Shard, slice_bytes: int) -> list[Reading]:
    """Byte ranges of a plain shard; one reading of unknown slices of a compressed one."""
    if shard.size_bytes == 0:
        return []
    if shard.compression:
        return [Reading(shard, None, shard.size_bytes)]
    cuts = [*range(0, shard.size_bytes, slice_bytes), shard.size_bytes]
    return [Reading(shard, (Slice(shard, start, stop),), stop - start) for start, stop in pairwise(cuts)]


def _limit(
    readings: list[Reading], limit_rows: int, slice_bytes: int, max_record_bytes: int
) -> tuple[list[Reading], int]:
    """The readings that hold the first `limit_rows` rows, the last of them cut; and how many rows those are."""
    kept: list[Reading] = []
    left = limit_rows
    for reading in readings:
        if left <= 0:
            break
        if reading.slices is None:
            kept.append(Reading(reading.shard, None, reading.size_bytes, max_rows=left))
            left -= _count(kept[-1], slice_bytes, max_record_bytes)
            continue
        slices: list[Slice] = []
        for piece in reading.slices:
            if left <= 0:
                break
            if reading.shard.format == "parquet":
                rows_here = piece.stop - piece.start
            else:
                one = Reading(reading.shard, (piece,), reading.size_bytes)
                rows_here = _count(one, slice_bytes, max_record_bytes)
            # Only a slice that the limit cuts carries it: an uncut one is the same slice with and without.
            slices.append(piece if rows_here <= left else Slice(piece.shard, piece.start, piece.stop, max_rows=left))
            left -= rows_here
        kept.append(Reading(reading.shard, tuple(slices), reading.size_bytes))
    return kept, limit_rows - max(left, 0)


def _count(reading: Reading, slice_bytes: int, max_record_bytes: int) -> int:
    """The rows of `reading`, up to the damage if there is any."""
    rows = 0
    with suppress(ShardUnreadable):
        for part in read.read(reading, slice_bytes=slice_bytes, max_record_bytes=max_record_bytes):
            rows += part.rows_in
    return rows
