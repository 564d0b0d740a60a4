"""Builders of shards, and one way to plan and read them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from triage.columns import EVENTS, QUARANTINE
from triage.errors import ShardUnreadable
from triage.job import Input
from triage.records import Plan
from triage.shards.plan import plan
from triage.shards.read import SliceRows, read

CANARY = "canary-7f3a secret log text"
MAX_RECORD = 4096
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


class Harvest(NamedTuple):
    """All that came out of some shards."""

    plan: Plan
    slices: list[SliceRows]
    events: pl.DataFrame
    quarantine: pl.DataFrame
    broken: list[ShardUnreadable]

    @property
    def positions(self) -> list[int]:
        return sorted([*self.events["position"], *self.quarantine["position"]])

    @property
    def messages(self) -> list[str]:
        return self.events["message"].to_list()

    @property
    def reasons(self) -> list[str]:
        return self.quarantine["reason"].to_list()


def harvest(
    *paths: Path | str,
    slice_bytes: int = 1 << 20,
    max_record_bytes: int = MAX_RECORD,
    limit_rows: int | None = None,
    **fields: str,
) -> Harvest:
    """Plan and read `paths`, and hold every slice to its balance."""
    mapping = {"message": "m"} if not fields else {} if fields == {"message": ""} else fields
    table = Input.model_validate({"paths": [str(path) for path in paths], "fields": mapping})
    planned = plan([table], slice_bytes=slice_bytes, max_record_bytes=max_record_bytes, limit_rows=limit_rows)
    slices: list[SliceRows] = []
    broken: list[ShardUnreadable] = []
    for reading in planned.readings:
        try:
            for rows in read(reading, slice_bytes=slice_bytes, max_record_bytes=max_record_bytes):
                assert rows.rows_in == rows.events.height + rows.quarantine.height
                for position in [*rows.events["position"], *rows.quarantine["position"]]:
                    assert rows.slice.start <= position < rows.slice.stop
                slices.append(rows)
        except ShardUnreadable as problem:
            broken.append(problem)
    events = pl.concat([pl.DataFrame(schema=EVENTS), *(rows.events for rows in slices)])
    quarantine = pl.concat([pl.DataFrame(schema=QUARANTINE), *(rows.quarantine for rows in slices)])
    assert not any("canary" in reason for reason in quarantine["reason"])
    return Harvest(planned, slices, events, quarantine, broken)


def line_of(message: Any) -> bytes:
    return orjson.dumps({"m": message})


def write_jsonl(path: Path, messages: Iterable[Any]) -> Path:
    """A shard packed as its name says, with one record a line."""
    path.write_bytes(PACK.get(path.suffix, bytes)(b"".join(line_of(message) + b"\n" for message in messages)))
    return path


def write_parquet(path: Path, row_group_size: int | None = None, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def write_any(path: Path, messages: list[str]) -> Path:
    """A shard of the format and packing that its name says."""
    return write_parquet(path, 3, m=messages) if path.suffix == ".parquet" else write_jsonl(path, messages)


ANY_FORMAT = pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
