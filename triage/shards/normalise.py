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

from triage.columns import CANONICAL, EVENTS, UTC_US

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


class Columns:
    """The columns of `events`, filled block by block; of a record only the text that `fields` ask for is kept."""

    def __init__(self, fields: Fields) -> None:
        self._positions: list[int] = []
        self._paths = {"message": "", **dict(fields)}  # an empty path is the whole record
        self._texts: dict[str, list[str | None]] = {column: [] for column in self._paths}

    @property
    def height(self) -> int:
        return len(self._positions)

    def add(self, positions: Sequence[int], records: Sequence[Mapping[str, Any]]) -> list[int]:
        """Add records; the indexes, among these, of those without a message."""
        for column, path in self._paths.items():
            self._texts[column] += texts_at(path, records)
        self._positions += positions
        added = self._texts["message"][-len(records) :] if records else []
        return [index for index, text in enumerate(added) if text is None] if None in added else []

    def events(self) -> pl.DataFrame:
        texts = {column: pl.Series(values, dtype=pl.String) for column, values in self._texts.items()}
        return frame_of(pl.Series(self._positions, dtype=pl.Int64), texts)


def texts_at(path: str, records: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Of each record the text at `path`, None where there is none; without a path the record itself."""
    if not path:
        return list(map(canonical_json, records))
    values = [reach(record, path) for record in records] if "." in path else [record.get(path) for record in records]
    return values if set(map(type, values)) <= {str, type(None)} else list(map(as_text, values))


def frame_of(positions: pl.Series, columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    """`events` of columns of text (`timestamp` of any type): the canonical ones, null where they are not given, and
    after them whatever else is given."""
    found = {"position": positions}
    for column in CANONICAL:
        found[column] = columns[column] if column in columns else pl.Series(dtype=EVENTS[column]).clear(len(positions))
    return with_time(pl.DataFrame({**found, **columns}))


def with_time(events: pl.DataFrame) -> pl.DataFrame:
    """`events` with `timestamp` as microseconds in UTC, from text, numbers since 1970 or any time type."""
    given = events["timestamp"]
    dtype, time = given.dtype, pl.col("timestamp")
    if dtype == pl.String:
        return events.with_columns(timestamp=_time_of_text(given))
    if dtype.is_numeric():
        parsed = _since_1970(time.cast(pl.Float64))
    elif isinstance(dtype, pl.Datetime):
        utc = time.dt.convert_time_zone("UTC") if dtype.time_zone else time.dt.replace_time_zone("UTC")
        parsed = utc.cast(UTC_US)
    elif dtype == pl.Date:
        parsed = time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    else:
        parsed = pl.lit(None, UTC_US)
    return events.with_columns(timestamp=parsed.cast(UTC_US))


def _time_of_text(given: pl.Series) -> pl.Series:
    """Each form is tried on what those before it left, as most shards write all times alike."""
    time = pl.col("timestamp")
    number = pl.when(time.str.contains(r"^\d+(\.\d+)?$")).then(time.cast(pl.Float64, strict=False))
    ways = [
        *(time.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _TIME_FORMATS),
        *(
            time.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
            for form in _LOCAL_TIME_FORMATS
        ),
        _since_1970(number).cast(UTC_US),
    ]
    parsed = pl.Series("timestamp", dtype=UTC_US).clear(len(given))
    left = given.is_not_null().arg_true()
    for way in ways:
        if not len(left):
            break
        found = given.gather(left).alias("timestamp").to_frame().select(way).to_series()
        parsed = parsed.scatter(left, found)
        left = left.filter(found.is_null())
    return parsed


def _since_1970(number: pl.Expr) -> pl.Expr:
    """Seconds, milli-, micro- or nanoseconds, told apart by size (seconds reach 1e11 in the year 5138). A number
    below 1e8 (1973 in seconds) is no time: counters and clocks since boot are as small."""
    scale = pl.when(number < 1e11).then(1e6).when(number < 1e14).then(1e3).when(number < 1e17).then(1.0).otherwise(1e-3)
    known = pl.when(number.is_between(1e8, 1e19, closed="left")).then(number)
    return (known * scale).round().cast(pl.Int64, strict=False).cast(UTC_US)
