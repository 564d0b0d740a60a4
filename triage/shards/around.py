"""A record and its neighbours, as they stand in the shard.

For people who look at a verdict; reads a compressed shard from its start. Raises ShardUnreadable where the shard is
gone or no longer of the version that was judged.
"""

from __future__ import annotations

from collections import deque

from triage.records import Shard
from triage.shards import read as reading

_SPAN_BYTES = 1 << 16


def around(shard: Shard, position: int, count: int) -> list[tuple[int, str]]:
    """(position, text) of up to `count` records before `position`, itself, and `count` after."""
    if shard.format == "parquet":
        rows = reading.parquet_footer(shard).num_rows
        start, stop = max(0, position - count), min(rows, position + count + 1)
        return reading.rows_as_text(shard, start, stop)
    before: deque[tuple[int, str]] = deque(maxlen=count)
    found: list[tuple[int, str]] = []
    after = 0
    for offset, line in reading.lines(shard, max(0, position - _SPAN_BYTES)):
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        if not text.strip():
            continue
        if offset < position:
            before.append((offset, text))
        elif after <= count:
            found.append((offset, text))
            after += 1
        else:
            break
    return [*before, *found]
