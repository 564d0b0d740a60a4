"""One slice as read, and what it means when a shard cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from triage.columns import QUARANTINE
from triage.errors import ShardUnreadable
from triage.records import Shard, Slice

CHUNK_BYTES: Final = 1 << 20
_STORE_PROBLEMS: Final = (OSError, pa.ArrowException, EOFError)


@dataclass(frozen=True, slots=True)
class SliceRows:
    """One slice as read. `rows_in` counts records met, before any was refused."""

    slice: Slice
    last: bool
    rows_in: int
    events: pl.DataFrame
    quarantine: pl.DataFrame


def with_quarantine(
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


@contextmanager
def naming(shard: Shard) -> Iterator[None]:
    """Turn what stores and decoders raise for a shard they cannot read into ShardUnreadable."""
    try:
        yield
    except _STORE_PROBLEMS as problem:
        # Only the kind of a decoder's complaint and our own words: its text may quote the data.
        detail = problem.strerror if isinstance(problem, OSError) and problem.strerror else ""
        if not detail:
            what = "Parquet" if shard.format == "parquet" else f"{shard.compression or 'JSONL'} data"
            detail = f"damaged or incomplete {what}"
        raise ShardUnreadable(
            f"{detail} ({type(problem).__name__})", where=shard.uri, next="repair or remove the shard"
        ) from None
