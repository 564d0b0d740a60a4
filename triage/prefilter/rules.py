"""Rules: named tests on canonical columns, written in TOML.

    [[rule]]
    id = "sshd-session-closed"
    settle = "benign"                  # or raise = "review" | "escalate", or mark = true
    because = "the end of a session that was opened in order"
    when.service = "sshd"                                  # equality
    when.level = ["info", "debug"]                         # membership
    when.message = { matches = 'session closed for user' } # regular expression (Rust syntax)

`settle` decides without asking the model; `raise` is a floor under what the model then says; `mark` adds tags.
All tests of `when` must hold. `equals`, `in`, `contains`, `starts_with` and `ends_with` ignore case, as Sigma does;
`matches` is case-sensitive unless it begins with `(?i)`. A missing value meets no test.

Promises: a rule is checked whole when it is loaded, its expression too. Knows nothing of slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from importlib import resources
from operator import and_
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from triage.columns import CANONICAL
from triage.errors import WrongInput
from triage.job import first_complaint, nearest, read_toml

INJECTION_TAG = "prompt-injection"
"""Events with this tag are marked `injection_suspected`."""


class Test(BaseModel):
    """What one column must meet; every operator given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equals: str | None = None
    in_: list[str] | None = Field(default=None, alias="in")
    contains: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    matches: str | None = None

    def expression(self, column: str) -> pl.Expr:
        """A boolean expression over the canonical column."""
        text = pl.col(column).cast(pl.String)
        folded = text.str.to_lowercase()
        tests = []
        if self.equals is not None:
            tests.append(folded == self.equals.lower())
        if self.in_ is not None:
            tests.append(folded.is_in([word.lower() for word in self.in_]))
        if self.contains is not None:
            tests.append(folded.str.contains(self.contains.lower(), literal=True))
        if self.starts_with is not None:
            tests.append(folded.str.starts_with(self.starts_with.lower()))
        if self.ends_with is not None:
            tests.append(folded.str.ends_with(self.ends_with.lower()))
        if self.matches is not None:
            tests.append(text.str.contains(self.matches))
        return reduce(and_, tests, pl.lit(True))


def _short_form(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return {"equals": str(value)}
    return {"in": [str(word) for word in value]} if isinstance(value, list) else value


class Rule(BaseModel):
    """One rule. Exactly one of `settle`, `raise` and `mark`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    settle: Literal["benign", "review", "escalate"] | None = None
    raise_: Literal["review", "escalate"] | None = Field(default=None, alias="raise")
    mark: Literal[True] | None = None
    because: str
    severity: Literal["informational", "low", "medium", "high", "critical"] | None = None
    category: str | None = None
    tags: list[str] = Field(default_factory=list)
    when: dict[str, Annotated[Test, BeforeValidator(_short_form)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_action(self) -> Rule:
        if sum(action is not None for action in (self.settle, self.raise_, self.mark)) != 1:
            raise ValueError("exactly one of settle, raise and mark is needed")
        for column, test in self.when.items():
            if column not in CANONICAL:
                raise ValueError(f"no canonical column {column!r}, {nearest(column, list(CANONICAL))}")
            if test == Test():
                raise ValueError(f"the test of {column!r} is empty")
            try:
                pl.DataFrame({column: ["x"]}).select(test.expression(column))
            except pl.exceptions.PolarsError as problem:
                raise ValueError(f"{column} matches: {str(problem).splitlines()[0]}") from None
        return self

    @property
    def expression(self) -> pl.Expr:
        """True where the rule hits, false everywhere else."""
        return reduce(and_, (t.expression(c) for c, t in self.when.items())).fill_null(False)


def load(paths: Sequence[str]) -> tuple[Rule, ...]:
    """The built-in rules and those of `paths` (files, or folders of `*.toml`), in order.

    Raises WrongInput with the file and the rule for anything that is not a sound rule, and for an id used twice.
    """
    found: dict[str, tuple[Rule, str]] = {}
    for path in [*_built_in(), *_rule_files(paths)]:
        document = read_toml(path, "a rule file")
        if unknown := set(document) - {"rule"}:
            raise WrongInput(f"unknown key {min(unknown)!r}", where=str(path), expected="[[rule]] tables only")
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise WrongInput("'rule' is no list of tables", where=str(path), expected="[[rule]] tables only")
        for number, table in enumerate(tables, start=1):
            where = f"{path} rule {number} ({table.get('id', 'no id')})"
            try:
                rule = Rule.model_validate(table)
            except ValidationError as refusal:
                raise _refused(where, refusal) from None
            if rule.id in found:
                raise WrongInput(
                    f"id {rule.id!r} is used twice", where=where, expected=f"another id than in {found[rule.id][1]}"
                )
            found[rule.id] = (rule, str(path))
    return tuple(rule for rule, _ in found.values())


def _refused(where: str, refusal: ValidationError) -> WrongInput:
    error = first_complaint(refusal)
    steps = [str(step) for step in error["loc"]]
    if error["type"] == "extra_forbidden":
        names = Test.model_fields if len(steps) > 1 else Rule.model_fields
        known = [field.alias or name for name, field in names.items()]
        return WrongInput(f"unknown key {'.'.join(steps)!r}", where=where, expected=nearest(steps[-1], known))
    message = error["msg"].removeprefix("Value error, ")
    return WrongInput(f"{'.'.join(steps)}: {message}" if steps else message, where=where)


def _built_in() -> list[Path]:
    folder = Path(str(resources.files("triage.prefilter") / "rules"))
    return sorted(folder.glob("*.toml"))


def _rule_files(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not inside:
            raise WrongInput("no rule files there", where=str(path), expected="*.toml", next="check [prefilter] rules")
        files += inside
    return files
