"""What one column must meet: the operators of `when`, each as a polars expression.

`equals`, `in`, `in_file`, `contains`, `contains_any`, `starts_with` and `ends_with` ignore case, as Sigma does;
`matches` is case-sensitive unless it begins with `(?i)`. A missing value meets no operator but `exists = false`.

Promises: what an operator means is what its plain oracle in the tests says; what has no exact form is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from triage.columns import UTC_US
from triage.prefilter.plain import PLAIN

_EXACT = 1 << 53
"""From here on not every whole number is a 64-bit floating point number."""
_NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
_FOR_TIMES = {"at_least", "at_most", "more_than", "less_than", "hours", "exists"}
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"


def _text(value: Any) -> Any:
    """A number or a boolean as a shard's reader writes it."""
    if isinstance(value, bool | float):
        return orjson.dumps(value).decode()
    return str(value) if isinstance(value, int) else value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _threshold(value: Any) -> Any:
    """A number that compares exactly, or an instant in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("expected a number, or a time as RFC 3339 writes it: 2026-11-24T06:00:00Z") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("expected a time with its offset: 2026-11-24T06:00:00Z")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("a time outside the years 1 to 9999") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number, or a time with its offset")
    if not abs(value) < _EXACT:  # nan too
        raise ValueError("a number from 2^53 on cannot be compared exactly")
    return value


class Listed(BaseModel):
    """The values of a file; rules with other values are other rules."""

    model_config = ConfigDict(frozen=True)

    name: str
    values: list[str]


def _listed(value: Any, info: ValidationInfo) -> Any:
    """Read the file, relative to the folder that the validation's context names."""
    if not isinstance(value, str):
        raise ValueError("expected the path of a file with one value a line")
    path = Path((info.context or {}).get("folder", ".")) / value
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except UnicodeDecodeError:
        raise ValueError(f"not UTF-8: {path}") from None
    except OSError as problem:
        raise ValueError(f"cannot be read: {path} ({problem.strerror})") from None
    return Listed(name=value, values=[line for line in lines if line and not line.startswith("#")])


Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | int | float | bool)]
Threshold = Annotated[
    int | float | datetime | None, BeforeValidator(_threshold, json_schema_input_type=int | float | str)
]
Gate = pl.Expr | None


class Operators(BaseModel):
    """What one column must meet; every operator given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equals: Text | None = None
    in_: list[Text] | None = Field(default=None, alias="in")
    in_file: Annotated[Listed | None, BeforeValidator(_listed, json_schema_input_type=str)] = Field(
        default=None, description="a file with one value a line, relative to the rule file; # begins a comment"
    )
    contains: Text | None = None
    contains_any: list[Text] | None = Field(default=None, min_length=1)
    starts_with: Text | None = None
    ends_with: Text | None = None
    matches: Annotated[list[str], BeforeValidator(_several, json_schema_input_type=str | list[str])] | None = Field(
        default=None,
        min_length=1,
        description="a regular expression (Rust syntax), or several that must all match: each is tried only on what "
        "the ones before it matched",
    )
    at_least: Threshold = None
    at_most: Threshold = None
    more_than: Threshold = None
    less_than: Threshold = None
    hours: list[str] | None = Field(
        default=None, min_length=2, max_length=2, description='from and until, in UTC: ["22:00", "06:00"]'
    )
    cidr: list[str] | None = Field(default=None, min_length=1, description="IPv4 networks that hold the address")
    plain: Literal[True] | None = Field(
        default=None,
        description="contains_any and matches see look-alike letters as the plain ones, and nothing that is invisible",
    )
    ascii: bool | None = Field(default=None, description="false: there is a character beyond ASCII")
    exists: bool | None = None

    @field_validator("matches")
    @classmethod
    def _compiles(cls, patterns: list[str] | None) -> list[str] | None:
        for pattern in patterns or ():
            try:
                pl.Series([""]).str.contains(pattern)
            except pl.exceptions.PolarsError as problem:
                lines = str(problem).splitlines()
                reason = next((line for line in lines if line.startswith("error: ")), lines[0]).split("error: ")[-1]
                raise ValueError(f"no regular expression in Rust's syntax: {reason}") from None
        return patterns

    @field_validator("hours")
    @classmethod
    def _times_of_day(cls, ends: list[str] | None) -> list[str] | None:
        for end in ends or ():
            try:
                sound = time.fromisoformat(end).tzinfo is None
            except ValueError:
                sound = False
            if not sound:
                raise ValueError("expected two times of the day in UTC: ['22:00', '06:00']")
        return ends

    @field_validator("cidr")
    @classmethod
    def _networks(cls, networks: list[str] | None) -> list[str] | None:
        for network in networks or ():
            try:
                ipaddress.IPv4Network(network)
            except ValueError:
                raise ValueError("expected IPv4 networks such as 10.0.0.0/8, without bits beyond the mask") from None
        return networks

    @model_validator(mode="after")
    def _plain_for_something(self) -> Operators:
        if self.plain and not self.is_costly:
            raise ValueError("'plain' goes with contains_any or matches")
        return self

    def refusal(self, *, time: bool) -> str | None:
        """Why a column of text, or of times, cannot be tested so; None where it can."""
        fields = type(self).model_fields
        given = {field.alias or name for name, field in fields.items() if getattr(self, name) is not None}
        of_times = {isinstance(value, datetime) for value in self._thresholds.values() if value is not None}
        if not given:
            return "the test is empty"
        if time and (wrong := sorted(given - _FOR_TIMES)):
            return f"{wrong[0]!r} is not for a time; known: {', '.join(sorted(_FOR_TIMES))}"
        if time and False in of_times:
            return "timestamp is compared with times: 2026-11-24T06:00:00Z"
        if not time and self.hours is not None:
            return "'hours' is for timestamp alone"
        if not time and True in of_times:
            return "only timestamp is compared with times, other columns with numbers"
        return None

    @property
    def _thresholds(self) -> dict[str, int | float | datetime | None]:
        return {
            "at_least": self.at_least,
            "at_most": self.at_most,
            "more_than": self.more_than,
            "less_than": self.less_than,
        }

    @property
    def is_costly(self) -> bool:
        return self.contains_any is not None or self.matches is not None

    def costly(self, column: str, gate: Gate) -> pl.Expr:
        """Whether the column meets the operators that take long. Has to be right only where the gate is true, and looks
        only there; each looks only at what the ones before it left. Never null."""
        text, met = self._read(column), self.words(column, gate)
        for pattern in self.matches or ():
            if met is not None and _matches_empty(pattern):
                met = met & text.str.contains(pattern)
            else:
                met = _where(met, text).str.contains(pattern)
        return pl.lit(True) if met is None else met.fill_null(False)

    def words(self, column: str, gate: Gate) -> Gate:
        """The gate, and that the column holds one of the words that are looked for, if any are."""
        if self.contains_any is None:
            return gate
        words = [word.lower() for word in self.contains_any]
        return _where(gate, self._read(column).str.to_lowercase()).str.contains_any(words)

    def _read(self, column: str) -> pl.Expr:
        return pl.col(PLAIN + column if self.plain else column)

    def cheap(self, column: str) -> Iterator[pl.Expr]:
        """The other operators. Never null."""
        text = pl.col(column)
        for expression in self._cheap(text, text.str.to_lowercase()):
            yield expression.fill_null(False)

    def _cheap(self, text: pl.Expr, folded: pl.Expr) -> Iterator[pl.Expr]:
        if self.exists is not None:
            yield text.is_not_null() if self.exists else text.is_null()
        if self.equals is not None:
            yield folded == self.equals.lower()
        for words in (self.in_, self.in_file.values if self.in_file else None):
            if words is not None:
                yield folded.is_in([word.lower() for word in words])
        if self.starts_with is not None:
            yield folded.str.starts_with(self.starts_with.lower())
        if self.ends_with is not None:
            yield folded.str.ends_with(self.ends_with.lower())
        if self.contains is not None:
            yield folded.str.contains(self.contains.lower(), literal=True)
        for name, bound in self._thresholds.items():
            if bound is not None:
                yield _COMPARE[name](text if isinstance(bound, datetime) else _as_number(text), _as_literal(bound))
        if self.hours is not None:
            start, stop = map(time.fromisoformat, self.hours)
            after, before = text.dt.time() >= start, text.dt.time() < stop
            yield after & before if start <= stop else after | before
        if self.cidr is not None:
            networks = "|".join(_network_pattern(ipaddress.IPv4Network(network)) for network in self.cidr)
            yield text.str.contains(f"^(?:::[fF]{{4}}:)?(?:{networks})$")
        if self.ascii is not None:
            plain = text.str.len_bytes() == text.str.len_chars()
            yield plain if self.ascii else ~plain


_COMPARE: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "at_least": lambda value, bound: value >= bound,
    "at_most": lambda value, bound: value <= bound,
    "more_than": lambda value, bound: value > bound,
    "less_than": lambda value, bound: value < bound,
}


def _matches_empty(pattern: str) -> bool:
    """Whether the expression finds a match in an empty text."""
    return bool(pl.Series([""]).str.contains(pattern)[0])


def _where(gate: Gate, text: pl.Expr) -> pl.Expr:
    """The text where the gate is true. Elsewhere empty, not null: polars searches also what is under a null."""
    return text if gate is None else pl.when(gate).then(text).otherwise(pl.lit(""))


def _as_number(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(_NUMBER)).then(text.cast(pl.Float64, strict=False))


def _as_literal(bound: int | float | datetime) -> pl.Expr:
    return pl.lit(bound).cast(UTC_US) if isinstance(bound, datetime) else pl.lit(float(bound))


def _network_pattern(network: ipaddress.IPv4Network) -> str:
    """A regular expression for the addresses of the network: whole octets, the part of one, any."""
    whole, bits = divmod(network.prefixlen, 8)
    octets = [str(octet) for octet in network.network_address.packed]
    parts = octets[:whole]
    if bits:
        first = int(octets[whole])
        parts.append("(?:" + "|".join(str(octet) for octet in range(first, first + (1 << (8 - bits)))) + ")")
    return r"\.".join([*parts, *[_OCTET] * (4 - len(parts))])
