"""`[[rule.test]]`: events that a rule must hit, and events that it must not.

Each test is one slice: its `match` and its `no_match` events stand in it together, so that a window counts both. Tests
are no part of what a rule is: changing one computes nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import polars as pl
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from triage.columns import EVENTS, SOURCE
from triage.prefilter.windows import duration

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)


class Example(BaseModel):
    """An event, or a run of like ones; a text alone is its message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str = ""
    timestamp: AwareDatetime | None = None
    host: str | None = None
    level: str | None = None
    service: str | None = None
    user: str | None = None
    source: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="the shard's own columns, named as the rule names them"
    )
    times: int = Field(default=1, ge=1, le=100_000, description="as many events of this kind")
    every: str | None = Field(default=None, description="the time from one to the next, such as 10s")

    @field_validator("every")
    @classmethod
    def _length(cls, text: str | None) -> str | None:
        if text is not None:
            duration(text)
        return text

    @model_validator(mode="after")
    def _ends(self) -> Example:
        try:
            self._time(self.times - 1)
        except OverflowError:
            raise ValueError("the last of these events lies beyond the year 9999") from None
        return self

    def _time(self, number: int) -> datetime | None:
        """When the event of that number is. Without `timestamp`, `every` counts from the year 2000."""
        if self.every is None:
            return self.timestamp
        return (self.timestamp or _FIRST) + number * duration(self.every)

    def events(self) -> Iterator[dict[str, Any]]:
        """Rows in the columns of EVENTS and the shard's own."""
        own = {SOURCE + name: _as_read(value) for name, value in self.source.items()}
        given = self.model_dump(include={"message", "host", "level", "service", "user"})
        for number in range(self.times):
            yield {**given, **own, "timestamp": self._time(number)}


def _as_read(value: str | int | float | bool) -> str:
    """As a shard's reader writes it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _message_alone(value: Any) -> Any:
    return {"message": value} if isinstance(value, str) else value


Examples = list[Annotated[Example, BeforeValidator(_message_alone, json_schema_input_type=str | Example)]]


class RuleTest(BaseModel):
    """What the rule must hit, every event of it, and what it must not hit at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Examples = Field(default_factory=list)
    no_match: Examples = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_something(self) -> RuleTest:
        if not (self.match or self.no_match):
            raise ValueError("a test has match, no_match or both")
        return self

    @property
    def examples(self) -> Iterator[tuple[str, int, Example]]:
        """(match or no_match, place in it, the example), in the order of the slice."""
        for name, examples in (("match", self.match), ("no_match", self.no_match)):
            for place, example in enumerate(examples):
                yield name, place, example

    def slice(self, sources: tuple[str, ...]) -> tuple[pl.DataFrame, list[tuple[str, int]]]:
        """The test's events, with the columns `sources` of the shard; and of each event, which example it is."""
        rows: list[dict[str, Any]] = []
        of: list[tuple[str, int]] = []
        for name, place, example in self.examples:
            for event in example.events():
                rows.append({"position": len(rows), **event})
                of.append((name, place))
        schema = {**EVENTS, **{SOURCE + column: pl.String() for column in sources}}
        return pl.DataFrame(rows, schema=schema), of
