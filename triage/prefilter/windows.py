"""How many events there are within a time: `[rule.window]`.

Promises: exact over the events it is given, which are those of one slice. Sees no other slice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import reduce
from operator import and_

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from triage.columns import CANONICAL, SOURCE
from triage.job import nearest

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m|h|d)")
GROUPING = [name for name in CANONICAL if name != "timestamp"]


def duration(text: str) -> timedelta:
    """A length of time as `30s`, `5m`, `1h`. Raises ValueError."""
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError("expected a length of time such as '500ms', '30s', '5m', '1h' or '7d'")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class Window(BaseModel):
    """More than `more_than` of the events that meet `when` within `within`, counted for each value of `by`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: list[str] = Field(default_factory=list, description="columns; `source.` before one of the shard's own")
    more_than: int = Field(ge=1, lt=1 << 31)
    within: str = Field(description="such as 30s, 5m or 1h")

    @field_validator("by")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in GROUPING and not (name.startswith(SOURCE) and name != SOURCE):
                raise ValueError(
                    f"no canonical column {name!r} to count by, {nearest(name, GROUPING)}, or {SOURCE}<column>"
                )
        return names

    @field_validator("within")
    @classmethod
    def _length(cls, text: str) -> str:
        duration(text)
        return text

    def expression(self, met: pl.Expr) -> pl.Expr:
        """Of the events that are `met` and have a timestamp and every column of `by`, those that lie in a stretch of
        at most `within`, both ends included, with more than `more_than` of them."""
        time = pl.col("timestamp").cast(pl.Int64)
        return pl.map_batches([met, time, *map(pl.col, self.by)], self._members, return_dtype=pl.Boolean)

    def _members(self, columns: Sequence[pl.Series]) -> pl.Series:
        """In order of group and time such a stretch holds a run of `more_than + 1` neighbours around the event; and
        where such a run spans no more than `within`, it is such a stretch. So: the short runs, and their members."""
        met, *named = columns
        names = [str(number) for number in range(len(named))]  # the first is the time, in microseconds
        rows = pl.arange(len(met), eager=True, dtype=pl.get_index_type()).alias("row")
        counted = pl.DataFrame([rows, *map(pl.Series.alias, named, names)]).filter(met).drop_nulls()
        hit = pl.zeros(len(met), pl.Boolean, eager=True)
        if counted.height <= self.more_than:
            return hit
        time, *groups = map(pl.col, names)
        length = duration(self.within) // timedelta(microseconds=1)
        alike = (group.shift(-self.more_than) == group for group in groups)
        short = reduce(and_, alike, time.shift(-self.more_than) - time <= length).fill_null(False)
        place = pl.int_range(pl.len(), dtype=pl.Int64)
        latest = pl.when(short).then(place).forward_fill()  # the last short run that began at or before the event
        member = (place - latest <= self.more_than).fill_null(False)
        members = counted.sort(*groups, time).select("row", member.alias("member")).filter("member")["row"]
        return hit.scatter(members, True)
