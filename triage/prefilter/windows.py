"""How many events there are within a time: `[rule.window]`.

Promises: exact over the events it is given, which are those of one slice. Sees no other slice.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import reduce
from operator import and_

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from triage.columns import CANONICAL, SOURCE
from triage.job import nearest

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
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
        at most `within`, both ends included, with more than `more_than` of them.

        In order of time such a stretch holds a run of `more_than + 1` neighbours around the event; and where such a
        run spans no more than `within`, it is such a stretch. So: the runs that are short enough, and their members.
        """
        counted = reduce(and_, (pl.col(name).is_not_null() for name in self.by), met)
        # What is not counted has no time; nulls are sorted before all times, so no run of neighbours holds one.
        time = pl.when(counted).then(pl.col("timestamp"))
        micros = time.cast(pl.Int64)
        length = duration(self.within) // timedelta(microseconds=1)
        place = pl.int_range(pl.len(), dtype=pl.Int64)
        short = (micros.shift(-self.more_than) - micros <= length).fill_null(False)
        latest = pl.when(short).then(place).forward_fill()  # the last short run that began at or before the event
        member = (place - latest <= self.more_than).fill_null(False)
        grouped = member.over(self.by, order_by=time) if self.by else member.over(pl.lit(0), order_by=time)
        return grouped & time.is_not_null()
