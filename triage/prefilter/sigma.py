"""Sigma rules at work: a ruleset, and which of its rules hit which events of a slice.

Each message is read once; events go by the log sources that they tell; a log source's rules see only its events, and a
rule only those that hold one of the words that it needs (found by one automaton for each field).

Promises: what a hit means is what the rule's whole tree says; the words only spare looking. Loads nothing: that is
`sigma_compile`, the only importer of pySigma's parser.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from triage.prefilter import sigma_fields, sigma_sources
from triage.prefilter.sigma_fields import Fields, as_text, leaves
from triage.prefilter.sigma_sources import LogSource
from triage.prefilter.sigma_tree import FOLD, KEYWORDS, Tree, columns, expression, folded, needed

HITS = {"row": pl.UInt32(), "rule": pl.UInt32()}


@dataclass(frozen=True, slots=True)
class SigmaRule:
    """A compiled rule; the names of `rules.Rule`. Its expression is over the fields of its log source's events."""

    id: str
    logsource: LogSource
    tree: Tree
    settle: Literal["review", "escalate"] | None
    mark: Literal[True] | None
    because: str
    severity: Literal["informational", "low", "medium", "high", "critical"] | None
    category: str | None
    tags: tuple[str, ...]
    raise_: None = None

    @property
    def expression(self) -> pl.Expr:
        return expression(self.tree)


@dataclass(frozen=True)
class Ruleset:
    """The rules that compiled, and why the others did not (by id)."""

    rules: tuple[SigmaRule, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {"rules": self.rules, "refused": self.refused}  # the groups are made anew on each worker

    def identity(self) -> list[str]:
        """What verdicts depend on, for a digest. What was refused changes nothing."""
        return [f"fields {sigma_fields.VERSION}", *map(repr, self.rules)] if self.rules else []

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        by_source: dict[LogSource, list[int]] = {}
        for number, rule in enumerate(self.rules):
            by_source.setdefault(rule.logsource, []).append(number)
        return tuple(_Group(source, numbers, self.rules) for source, numbers in by_source.items())

    def hits(self, events: pl.DataFrame) -> pl.DataFrame:
        """(row of `events`, index in `rules`) of every hit."""
        kinds: dict[tuple[LogSource, ...], list[int]] = {}
        fields: list[Fields] = []
        records: list[dict[str, Any] | None] = []
        messages: list[str | None] = events["message"].to_list()
        for row, (message, service) in enumerate(events.select("message", "service").iter_rows()):
            seen, sources, record = sigma_fields.read(message, service)
            fields.append(seen)
            records.append(record)
            if sources:
                kinds.setdefault(sources, []).append(row)
        found = [pl.DataFrame(schema=HITS)]
        for group in self._groups:
            alike = [rows for sources, rows in kinds.items() if group.sees(sources)]
            if alike:
                rows = sorted(row for part in alike for row in part)
                found.append(group.hits(rows, fields, records, messages))
        return pl.concat(found)


class _Group:
    """The rules of one log source."""

    def __init__(self, source: LogSource, numbers: list[int], rules: Sequence[SigmaRule]) -> None:
        self._source = source
        self._trees = {number: rules[number].tree for number in numbers}
        self._columns = {number: columns(tree) for number, tree in self._trees.items()}
        self._expressions: dict[tuple[int, frozenset[str]], pl.Expr] = {}
        uses: Counter[tuple[str, str]] = Counter()
        for tree in self._trees.values():
            uses.update(needed(tree, lambda word: 1 / len(word[1])) or ())

        def price(word: tuple[str, str]) -> float:
            """A word that many rules ask for is in many events; so is a short one. Keywords read whole records."""
            return (1 + uses[word]) / len(word[1]) * (1000 if word[0] == KEYWORDS else 1)

        words = {number: needed(tree, price) for number, tree in self._trees.items()}
        self._always = [number for number, needs in words.items() if needs is None]
        pairs = [
            (field, form, number)
            for number, needs in words.items()
            for field, text in needs or ()
            for form in ({text, _escaped(text)} if field == KEYWORDS else {text})
        ]
        schema = {"field": pl.String(), "word": pl.String(), "rule": pl.UInt32()}
        tables = pl.DataFrame(pairs, schema=schema, orient="row").partition_by("field", as_dict=True)
        self._tables = {str(field): table.drop("field") for (field,), table in tables.items()}

    def sees(self, sources: tuple[LogSource, ...]) -> bool:
        return any(sigma_sources.sees(self._source, source) for source in sources)

    def hits(
        self, rows: list[int], fields: list[Fields], records: list[dict[str, Any] | None], messages: list[str | None]
    ) -> pl.DataFrame:
        def values(name: str, at: Sequence[int]) -> pl.Series:
            if name != KEYWORDS:
                return _column(name, [fields[row].get(name) for row in at])
            texts = [[messages[row] or ""] if (record := records[row]) is None else leaves(record) for row in at]
            return pl.Series(name, texts, dtype=pl.List(pl.String))

        made = {field: values(field, rows) for field in self._tables if field != KEYWORDS}
        whole = _searchable(messages, records, rows) if KEYWORDS in self._tables else None
        candidates = self._candidates(made, whole)
        where = pl.Series("row", rows, dtype=pl.UInt32)
        found = [pl.DataFrame(schema=HITS)]
        always = [(self._always, None)] if self._always else []
        for numbers, some in [*always, *_batches(candidates)]:
            at = where if some is None else where.gather(some)
            part = {}
            for name in {name for number in numbers for name in self._columns[number]}:
                field = name.removeprefix(FOLD)
                if field == KEYWORDS:  # made for the rows that are looked at alone
                    part[name] = _form(name, values(field, at.to_list()))
                    continue
                if field not in made:
                    made[field] = values(field, rows)
                if name not in made:
                    made[name] = _form(name, made[field])
                part[name] = made[name] if some is None else made[name].gather(some)
            lists = frozenset(name for name, column in part.items() if isinstance(column.dtype, pl.List))
            told = pl.DataFrame(list(part.values())).select(
                self._expression(number, lists).alias(str(number)) for number in numbers
            )
            for number, hit in zip(numbers, told, strict=True):
                if hit.any():
                    hit_at = at.filter(hit)
                    found.append(pl.DataFrame({"row": hit_at, "rule": [number] * len(hit_at)}, schema=HITS))
        return pl.concat(found)

    def _candidates(self, made: dict[str, pl.Series], whole: pl.Series | None) -> pl.DataFrame:
        """(rule, the places where it may hit), for the rules that need words; adds the folded columns to `made`."""
        found = [pl.DataFrame(schema={"place": pl.UInt32, "rule": pl.UInt32})]
        for field, table in self._tables.items():
            if field == KEYWORDS and whole is not None:
                column = whole
            else:
                column = made[FOLD + field] = _form(FOLD + field, made[field])
            texts = column.to_frame("text").with_row_index("place")
            if isinstance(column.dtype, pl.List):
                texts = texts.explode("text")
            words = table["word"].unique(maintain_order=True).to_list()
            held = texts.select("place", word=pl.col("text").str.extract_many(words, overlapping=True))
            held = held.filter(pl.col("word").list.len() > 0).explode("word").unique()
            found.append(held.join(table, on="word").select("place", "rule"))
        return pl.concat(found).unique().sort("rule", "place").group_by("rule", maintain_order=True).agg("place")

    def _expression(self, number: int, lists: frozenset[str]) -> pl.Expr:
        key = (number, lists.intersection(self._columns[number]))
        if key not in self._expressions:
            self._expressions[key] = expression(self._trees[number], key[1])
        return self._expressions[key]


BATCH_ROWS = 256
"""A pass of polars over so few rows costs what the rows cost, about; more rules share it until there are more rows."""


def _batches(candidates: pl.DataFrame) -> Iterator[tuple[list[int], pl.Series]]:
    """(rules, the places where one of them may hit): rules with few candidates together. Looking at more places than
    a rule needs changes nothing."""
    numbers: list[int] = []
    places: set[int] = set()
    for number, some in candidates.sort(pl.col("place").list.len(), "rule").iter_rows():
        if numbers and len(places | set(some)) > BATCH_ROWS:
            yield numbers, pl.Series(sorted(places), dtype=pl.UInt32)
            numbers, places = [], set()
        numbers.append(number)
        places.update(some)
    if numbers:
        yield numbers, pl.Series(sorted(places), dtype=pl.UInt32)


def _searchable(messages: list[str | None], records: list[dict[str, Any] | None], rows: list[int]) -> pl.Series:
    """Messages in lower case, records with their texts escaped in the one way of `_escaped`: where words are sought."""
    plain = [(messages[row] or "", records[row]) for row in rows]
    texts = [
        as_text(leaves(record)) if record is not None and ("\\u" in message or "\\/" in message) else message
        for message, record in plain
    ]
    return _form(FOLD, pl.Series(texts, dtype=pl.String))


def _escaped(text: str) -> str:
    return as_text([text])[2:-2]


def _column(name: str, values: list[Any]) -> pl.Series:
    kinds = set(map(type, values))
    if list in kinds:
        lists = [None if value is None else leaves([value]) or None for value in values]
        return pl.Series(name, lists, dtype=pl.List(pl.String))
    if not kinds <= {str, type(None)}:
        values = [value if value is None else as_text(value) for value in values]
    return pl.Series(name, values, dtype=pl.String)


def _form(name: str, column: pl.Series) -> pl.Series:
    """The column under `name`: folded where the name says so."""
    if not name.startswith(FOLD):
        return column
    if isinstance(column.dtype, pl.List):
        return column.list.eval(folded(pl.element())).alias(name)
    return column.to_frame("text").select(folded(pl.col("text")).alias(name)).to_series()
