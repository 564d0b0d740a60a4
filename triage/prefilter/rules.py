"""Rules: named tests of an event's columns, written in TOML. docs/jobs.md has the language, `operators`, `when` and
`windows` its parts.

    [[rule]]
    id = "sshd-session-closed"
    settle = "benign"                  # or raise = "review" | "escalate", or mark = true
    because = "the end of a session that was opened in order"
    when.service = "sshd"                                  # equality
    when.source.status = { at_least = 500 }                # a column of the shard that is mapped to none of ours
    when.message = { matches = 'session closed for user' } # regular expression (Rust syntax)
    [[rule.test]]
    match = [{ service = "sshd", message = "session closed for user eve", source = { status = 500 } }]

`settle` decides without asking the model; `raise` is a floor under what the model then says; `mark` adds tags.

Promises: a rule is checked whole when it is loaded, its expression too; a complaint names file and line. Knows nothing
of slices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from triage.columns import CANONICAL, SOURCE
from triage.errors import WrongInput
from triage.job import first_complaint, nearest, read_toml
from triage.prefilter.examples import Example, RuleTest
from triage.prefilter.operators import Operators
from triage.prefilter.plain import PLAIN
from triage.prefilter.toml_lines import Steps, line_at, lines_of
from triage.prefilter.when import When
from triage.prefilter.windows import Window

INJECTION_TAG = "prompt-injection"
"""Events with this tag are marked `injection_suspected`."""


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
    when: When
    window: Window | None = Field(default=None, description="hits only where there are many within a time")
    tests: list[RuleTest] = Field(
        default_factory=list, alias="test", exclude=True, description="what `triage rules check` holds the rule to"
    )

    @model_validator(mode="after")
    def _sound(self) -> Rule:
        if sum(action is not None for action in (self.settle, self.raise_, self.mark)) != 1:
            raise ValueError("exactly one of settle, raise and mark is needed")
        texts = [*(SOURCE + column for column in self.sources), *(PLAIN + column for column in self.when.plains)]
        columns = {**CANONICAL, **dict.fromkeys(texts, pl.String())}
        try:
            pl.DataFrame(schema=columns).lazy().select(self.counted(self.when.expression())).collect()
        except pl.exceptions.PolarsError as problem:
            raise ValueError(f"cannot be run: {str(problem).splitlines()[0]}") from None
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """The shard's own columns that the rule reads, each once."""
        counted = self.window.by if self.window else ()
        own = (name.removeprefix(SOURCE) for name in counted if name.startswith(SOURCE))
        return tuple(dict.fromkeys((*self.when.sources, *own)))

    def counted(self, met: pl.Expr) -> pl.Expr:
        """True where the rule hits, false everywhere else, from where its `when` is met: with a window that depends on
        all rows."""
        return self.window.expression(met) if self.window else met


class RuleFile(BaseModel):
    """A rule file. Its rules are read one by one; this is for its schema."""

    model_config = ConfigDict(extra="forbid")

    rule: list[Rule] = Field(default_factory=list)


class Written:
    """A rule and where it stands."""

    def __init__(self, rule: Rule, path: Path, number: int, lines: dict[Steps, int]) -> None:
        self.rule, self.path, self._number, self._lines = rule, path, number, lines

    def where(self, *steps: str | int) -> str:
        """File and line of the rule, or of a part of it."""
        return f"{self.path}:{line_at(self._lines, ('rule', self._number, *steps))}"


def load(paths: Sequence[str]) -> tuple[Rule, ...]:
    """The built-in rules and those of `paths` (files, or folders of `*.toml`), in order.

    Raises WrongInput with file and line for anything that is not a sound rule, and for an id used twice.
    """
    rules = []
    for found in written(paths):
        if isinstance(found, WrongInput):
            raise found
        rules.append(found.rule)
    return tuple(rules)


def sources(rules: Sequence[Rule]) -> dict[str, str]:
    """The shard's own columns that `rules` read, each with the id of the first rule that does."""
    wanted: dict[str, str] = {}
    for rule in rules:
        for column in rule.sources:
            wanted.setdefault(column, rule.id)
    return wanted


def written(paths: Sequence[str]) -> Iterator[Written | WrongInput]:
    """The built-in rules and those of `paths`, each a rule or what is wrong there. A file that cannot be read as rules
    at all is one complaint."""
    seen: dict[str, str] = {}
    try:
        files = [*built_in(), *_rule_files(paths)]
    except WrongInput as refusal:
        yield refusal
        return
    for path in files:
        try:
            tables, lines = _tables(path)
        except WrongInput as refusal:
            yield refusal
            continue
        for number, table in enumerate(tables):
            try:
                rule = Rule.model_validate(table, context={"folder": path.parent})
            except ValidationError as refusal:
                yield _refused(path, number, table, lines, refusal)
                continue
            except RecursionError:
                yield WrongInput("nested too deeply", where=f"{path}:{line_at(lines, ('rule', number))}")
                continue
            found = Written(rule, path, number, lines)
            if rule.id in seen:
                yield WrongInput(
                    f"id {rule.id!r} is used twice",
                    where=found.where("id"),
                    expected=f"another id than at {seen[rule.id]}",
                )
                continue
            seen[rule.id] = found.where("id")
            yield found


def built_in() -> list[Path]:
    """The files of the rules that are always on."""
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


def _tables(path: Path) -> tuple[list[dict[str, Any]], dict[Steps, int]]:
    try:
        document = read_toml(path, "a rule file")
        lines = lines_of(path.read_text("utf-8"))
    except RecursionError:
        raise WrongInput("nested too deeply", where=str(path), expected="a rule file") from None
    if unknown := set(document) - {"rule"}:
        first = min(unknown, key=lambda key: line_at(lines, (key,)))
        raise WrongInput(
            f"unknown key {first!r}", where=f"{path}:{line_at(lines, (first,))}", expected="[[rule]] tables only"
        )
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        where = f"{path}:{line_at(lines, ('rule',))}"
        raise WrongInput("'rule' is no list of tables", where=where, expected="[[rule]] tables only")
    return tables, lines


def _refused(
    path: Path, number: int, table: dict[str, Any], lines: dict[Steps, int], refusal: ValidationError
) -> WrongInput:
    """The first complaint of pydantic as one line of ours."""
    error = first_complaint(refusal)
    where = f"{path}:{line_at(lines, ('rule', number, *error['loc']))}"
    name = f"rule {table['id']!r}" if isinstance(table.get("id"), str) else f"rule {number + 1}"
    steps = [str(step) for step in error["loc"]]
    if error["type"] == "extra_forbidden":
        inside = _table(steps[:-1])
        expected = nearest(steps[-1], [field.alias or name for name, field in inside.model_fields.items()])
        if inside is When:
            expected += "; a column of the shard stands under 'source'"
        elif steps[-3:-2] == ["source"]:
            expected += f'; a dotted column is quoted: source."{".".join(steps[-2:])}"'
        return WrongInput(f"{name}: unknown key {'.'.join(steps)!r}", where=where, expected=expected)
    if error["type"] == "missing":
        return WrongInput(f"{name}: key {'.'.join(steps)!r} is missing", where=where)
    message = re.sub("a valid dictionary or instance of .*", "a table", error["msg"].removeprefix("Value error, "))
    return WrongInput(f"{name}: {'.'.join(steps)}: {message}" if steps else f"{name}: {message}", where=where)


_INSIDE: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (Rule, "when"): When,
    (Rule, "window"): Window,
    (Rule, "test"): RuleTest,
    (RuleTest, "match"): Example,
    (RuleTest, "no_match"): Example,
    **{(When, name): When for name in ("all", "any", "not")},
    **{(When, name): Operators for name in CANONICAL},
}


def _table(steps: list[str]) -> type[BaseModel]:
    """The table that `steps` leads to."""
    table: type[BaseModel] = Rule
    for before, step in zip(["", *steps], steps, strict=False):
        table = _INSIDE.get((table, step)) or (Operators if table is When and before == "source" else table)
    return table
