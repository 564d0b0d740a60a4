"""When a rule hits: tests of columns, joined by and, or and not, to any depth.

Promises: a missing value meets no test, so `not` of a test of a missing value holds; costly tests look only at rows
that meet the cheap ones beside them, which changes no result.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import and_, or_
from typing import Annotated, Any

import polars as pl
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from triage.columns import CANONICAL, SOURCE
from triage.prefilter.operators import Gate, Operators

_DEEPEST = 20


def _short_form(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return {"equals": value}
    return {"in": value} if isinstance(value, list) else value


def _for_text(test: Operators) -> Operators:
    if refusal := test.refusal(time=False):
        raise ValueError(refusal)
    return test


def _for_times(test: Operators) -> Operators:
    if refusal := test.refusal(time=True):
        raise ValueError(refusal)
    return test


_SHORT = BeforeValidator(
    _short_form, json_schema_input_type=str | int | float | bool | list[str | int | float | bool] | Operators
)
TextTest = Annotated[Operators, _SHORT, AfterValidator(_for_text)]
TimeTest = Annotated[Operators, _SHORT, AfterValidator(_for_times)]


class When(BaseModel):
    """Everything given must hold: the tests of columns, all of `all`, one of `any`, and not `not`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timestamp: TimeTest | None = None
    host: TextTest | None = None
    level: TextTest | None = None
    service: TextTest | None = None
    user: TextTest | None = None
    message: TextTest | None = None
    source: dict[str, TextTest] = Field(
        default_factory=dict, description="the shard's own columns; dots reach into nested records"
    )
    all_: list[When] | None = Field(default=None, alias="all", min_length=1)
    any_: list[When] | None = Field(default=None, alias="any", min_length=1)
    not_: When | None = Field(default=None, alias="not")

    @model_validator(mode="after")
    def _sound(self) -> When:
        if not (self.tests or self.all_ or self.any_ or self.not_):
            raise ValueError("nothing is tested")
        if self.depth > _DEEPEST:
            raise ValueError(f"all, any and not are nested more than {_DEEPEST} deep")
        return self

    @property
    def tests(self) -> dict[str, Operators]:
        """The tests of columns, by the columns' names in `events`."""
        own = {column: getattr(self, column) for column in CANONICAL}
        return {column: test for column, test in own.items() if test is not None} | {
            SOURCE + column: test for column, test in self.source.items()
        }

    @property
    def parts(self) -> tuple[When, ...]:
        """What is joined by all, any and not."""
        return (*(self.all_ or ()), *(self.any_ or ()), *((self.not_,) if self.not_ else ()))

    @property
    def depth(self) -> int:
        return 1 + max((part.depth for part in self.parts), default=0)

    @property
    def plains(self) -> Iterator[str]:
        """The columns of `events` that are read as a person reads them, here and below."""
        yield from (column for column, test in self.tests.items() if test.plain)
        for part in self.parts:
            yield from part.plains

    @property
    def sources(self) -> Iterator[str]:
        """The shard's own columns that are tested, here and below."""
        yield from self.source
        for part in self.parts:
            yield from part.sources

    def expression(self, gate: Gate = None) -> pl.Expr:
        """True where it holds, false elsewhere; never null. Where there is a gate it has to be right only where that is
        true, and false elsewhere."""
        # Only cheap tests become gates, and words those of parts: a gate stands in each expression that it spares work,
        # so it must stay small.
        cheap = [expression for column, test in self.tests.items() for expression in test.cheap(column)]
        gates = [*([gate] if gate is not None else []), *cheap]
        gate = reduce(and_, gates) if gates else None
        parts = [test.costly(column, gate) for column, test in self.tests.items() if test.is_costly]
        inner = gate
        for column, test in self.tests.items():
            inner = test.words(column, inner)
        parts += [part.expression(inner) for part in self.all_ or ()]
        if self.any_:
            parts.append(reduce(or_, (part.expression(inner) for part in self.any_)))
        if self.not_:
            parts.append(~self.not_.expression(inner))
        return reduce(and_, [*([gate] if gate is not None else []), *parts])
