"""Readings to slices of events, with what could not be read beside them.

Promises: a record belongs to the slice in which it starts; memory is bounded by the slice and one record; a row
that cannot be read is quarantined with its position, reason and bytes, and its neighbours are read. Positions are
row indexes in Parquet and byte offsets of the line's start, uncompressed, in JSONL.

Raises ShardUnreadable where a shard, or the rest of one, cannot be read at all. Log text is never in a reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from triage.errors import ShardUnreadable
from triage.records import Reading, Shard
from triage.shards import jsonl, parquet
from triage.shards.rows import SliceRows, naming
from triage.shards.store import stat


def read(reading: Reading, *, slice_bytes: int, max_record_bytes: int) -> Iterator[SliceRows]:
    """The slices of `reading`, in sequence. Raises ShardUnreadable also for a shard that changed since the plan."""
    require_unchanged(reading.shard)
    with naming(reading.shard):
        if reading.shard.format == "parquet":
            yield from parquet.read_parquet(reading)
        else:
            yield from jsonl.read_jsonl(reading, slice_bytes, max_record_bytes)


def require_unchanged(shard: Shard) -> None:
    """Raise ShardUnreadable where the shard is gone or no longer of the version that is meant."""
    with naming(shard):
        now = stat(shard.uri).version
    if now != shard.version:
        raise ShardUnreadable(
            f"changed since the plan: version {now}", where=shard.uri, expected=f"version {shard.version}"
        )


def columns(shard: Shard, max_record_bytes: int) -> set[str]:
    """The source columns that `shard` shows, nested ones with dots: all of a Parquet shard's, those in the first
    MiB of a JSONL shard's."""
    with naming(shard):
        return parquet.column_names(shard) if shard.format == "parquet" else jsonl.keys(shard, max_record_bytes)
