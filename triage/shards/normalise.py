"""From a source's own fields to the canonical columns.

Promises: a value of another type than text becomes text (numbers as written, records and lists as JSON); a time
that cannot be understood becomes null, never another time; a row without a message is quarantined, not guessed.
Does not parse the text of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from triage.columns import CANONICAL, EVENTS, SOURCE, UTC_US

Fields = Sequence[tuple[str, str]]  # (column of `events`, source column): canonical, or SOURCE before the source's name

_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%d/%b/%Y:%H:%M:%S %#z",
)
_LOCAL_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")


def as_text(value: Any) -> str | None:
    """A value as text: strings as they are, null as None, numbers, records and lists as JSON, dates in ISO form."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping | list | bool | int | float):
        return canonical_json(value)
    return _plain(value)


def canonical_json(value: Any) -> str:
    """The value as JSON with sorted keys. A whole record so is the message of a source that names none."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> str:
    """What JSON has no form for: bytes that are not UTF-8 are escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def reach(record: Mapping[str, Any], path: str) -> Any:
    """The value at `path`: the key as written, else each dot one level down. None where it is missing."""
    if path in record:
        return record[path]
    value: Any = record
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def events_of(positions: Sequence[int], records: Sequence[Mapping[str, Any]], fields: Fields) -> pl.DataFrame:
    """The records as `events`: canonical columns, text, `timestamp` in UTC; `message` null where there is none. After
    them what rules read of the source's own, as text."""
    sources = dict(fields)
    columns: dict[str, pl.Series] = {"position": pl.Series(positions, dtype=pl.Int64)}
    for column in (*CANONICAL, *own_columns(fields)):
        values: list[str | None]
        if column in sources:
            path = sources[column]
            values = [as_text(reach(record, path)) for record in records]
        elif column == "message":
            values = [canonical_json(record) for record in records]
        else:
            values = [None] * len(records)
        columns[column] = pl.Series(values, dtype=pl.String)
    return with_time(pl.DataFrame(columns))


def own_columns(fields: Fields) -> list[str]:
    """The columns of `events` that rules read beside the canonical ones."""
    return [column for column, _ in fields if column.startswith(SOURCE)]


def with_time(events: pl.DataFrame) -> pl.DataFrame:
    """`events` with `timestamp` as microseconds in UTC, from text, numbers since 1970 or any time type."""
    dtype = events.schema["timestamp"]
    time = pl.col("timestamp")
    if dtype == pl.String:
        number = pl.when(time.str.contains(r"^\d+(\.\d+)?$")).then(time.cast(pl.Float64, strict=False))
        zoned = [time.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False) for f in _TIME_FORMATS]
        local = [
            time.str.to_datetime(f, time_unit="us", strict=False).dt.replace_time_zone("UTC")
            for f in _LOCAL_TIME_FORMATS
        ]
        parsed = pl.coalesce(*zoned, *local, _since_1970(number))
    elif dtype.is_numeric():
        parsed = _since_1970(time.cast(pl.Float64))
    elif isinstance(dtype, pl.Datetime):
        utc = time.dt.convert_time_zone("UTC") if dtype.time_zone else time.dt.replace_time_zone("UTC")
        parsed = utc.cast(UTC_US)
    elif dtype == pl.Date:
        parsed = time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    else:
        parsed = pl.lit(None, UTC_US)
    others = [column for column in events.columns if column not in EVENTS]
    return events.with_columns(timestamp=parsed.cast(UTC_US)).select(*EVENTS, *others)


def _since_1970(number: pl.Expr) -> pl.Expr:
    """Seconds, milli-, micro- or nanoseconds, told apart by size (seconds reach 1e11 in the year 5138). A number
    below 1e8 (1973 in seconds) is no time: counters and clocks since boot are as small."""
    scale = pl.when(number < 1e11).then(1e6).when(number < 1e14).then(1e3).when(number < 1e17).then(1.0).otherwise(1e-3)
    known = pl.when(number.is_between(1e8, 1e19, closed="left")).then(number)
    return (known * scale).round().cast(pl.Int64, strict=False).cast(UTC_US)
