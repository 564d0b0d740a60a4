"""A record and its neighbours, as they stand in the shard.

For people who look at a verdict; reads a compressed shard from its start. Raises ShardUnreadable where the shard is
gone or no longer of the version that was judged.
"""

from __future__ import annotations

from collections import deque

from triage.records import Shard
from triage.shards import jsonl, parquet
from triage.shards.read import require_unchanged
from triage.shards.rows import CHUNK_BYTES, naming

_SPAN_BYTES = 1 << 16


def around(shard: Shard, position: int, count: int) -> list[tuple[int, str]]:
    """(position, text) of up to `count` records before `position`, itself, and `count` after."""
    require_unchanged(shard)
    with naming(shard):
        if shard.format == "parquet":
            rows = parquet.footer(shard).num_rows
            return parquet.rows_as_text(shard, max(0, position - count), min(rows, position + count + 1))
        return _lines_around(shard, position, count)


def _lines_around(shard: Shard, position: int, count: int) -> list[tuple[int, str]]:
    span = _SPAN_BYTES
    while True:
        start = 0 if shard.compression else max(0, position - span)
        before, found = _both_sides(shard, start, position, count)
        if start == 0 or len(before) == count:
            return [*before, *found]
        span *= 8  # long lines: look further back


def _both_sides(
    shard: Shard, start: int, position: int, count: int
) -> tuple[deque[tuple[int, str]], list[tuple[int, str]]]:
    """The last `count` records between `start` and `position`, and those from `position` on."""
    before: deque[tuple[int, str]] = deque(maxlen=count)
    found: list[tuple[int, str]] = []
    for offset, line in jsonl.lines(shard, start):
        if jsonl.is_blank(line, CHUNK_BYTES):
            continue
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if offset < position:
            before.append((offset, text))
            continue
        found.append((offset, text))
        if len(found) > count:
            break
    return before, found
