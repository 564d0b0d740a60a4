"""The rules of one log source at work on its events.

An event is what the rules' fields say of it: those that say the same are looked at once. A rule looks only at events
that hold the words it needs, one of each of some sets, which one automaton for each field finds.

Promises: what a hit means is what the rule's whole tree says; the words, and looking once, only spare looking.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from triage.prefilter.sigma_fields import as_text, leaves
from triage.prefilter.sigma_tree import FOLD, KEYWORDS, Tree, Words, columns, expression, folded, needed

BATCH_ROWS = 512
"""A pass of polars over so few rows costs what the rows cost, about; more rules share it until there are more rows."""


@dataclass(frozen=True, slots=True)
class Alike:
    """The events of a slice that belong to the same log sources: their rows, messages, and values by field."""

    rows: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    values: dict[str, list[Any]] = field(default_factory=dict)


class Group:
    """The rules of one log source, by number, that all search whole messages (`keywords`) or all do not."""

    def __init__(self, trees: Mapping[int, Tree]) -> None:
        self._trees = dict(trees)
        self._columns = {number: columns(tree) for number, tree in trees.items()}
        self._expressions: dict[tuple[int, frozenset[str]], pl.Expr] = {}
        named = {name.removeprefix(FOLD) for names in self._columns.values() for name in names}
        self.keywords = KEYWORDS in named
        self.fields = tuple(sorted(named - {KEYWORDS}))
        words = _words(trees)
        self._always = [number for number, sets in words.items() if not sets]
        self._sets = pl.DataFrame(
            {"rule": list(words), "sets": [len(sets) for sets in words.values()]},
            schema={"rule": pl.UInt32, "sets": pl.UInt32},
        )
        pairs = [
            (name, form, number, which)
            for number, sets in words.items()
            for which, needs in enumerate(sets)
            for name, text in needs
            for form in ({text, _escaped(text)} if name == KEYWORDS else {text})
        ]
        schema = {"field": pl.String, "word": pl.String, "rule": pl.UInt32, "set": pl.UInt32}
        self._needs = pl.DataFrame(pairs, schema=schema, orient="row")
        sought = self._needs.group_by("field", maintain_order=True).agg(pl.col("word").unique(maintain_order=True))
        self._sought: dict[str, list[str]] = dict(sought.iter_rows())

    def hits(self, parts: Sequence[Alike]) -> pl.DataFrame:
        """(row, rule) of every hit among the events."""
        rows = [row for part in parts for row in part.rows]
        messages = [message for part in parts for message in part.messages] if self.keywords else []
        made = {
            name: _column(name, list(itertools.chain.from_iterable(part.values[name] for part in parts)))
            for name in self.fields
        }
        alike = _alike(made, messages, len(rows))
        first = alike.get_column("place").list.first()
        if len(first) < len(rows):
            made = {name: column.gather(first) for name, column in made.items()}
            messages = [messages[place] for place in first] if self.keywords else []
        told = self._told(made, messages, len(first))
        where = pl.DataFrame({"row": rows}, schema={"row": pl.UInt32})
        places = told.join(alike.with_row_index("one"), on="one").explode("place")
        return places.select(row=where["row"].gather(places["place"]), rule="rule")

    def _told(self, made: dict[str, pl.Series], messages: list[str], height: int) -> pl.DataFrame:
        """(one of the events, rule) of every hit; `made`: their columns, to which the folded ones are added."""
        every = pl.Series("one", range(height), dtype=pl.UInt32)
        ones: list[int] = []
        rules: list[int] = []
        always = [(self._always, every)] if self._always else []
        for numbers, some in [*always, *_batches(self._candidates(made, messages))]:
            part = {}
            for name in {name for number in numbers for name in self._columns[number]}:
                plain = name.removeprefix(FOLD)
                if plain == KEYWORDS:  # made for the events that are looked at alone
                    searched = [_leaves(messages[one]) for one in some]
                    part[name] = _form(name, pl.Series(plain, searched, dtype=pl.List(pl.String)))
                    continue
                if name not in made:
                    made[name] = _form(name, made[plain])
                part[name] = made[name] if len(some) == height else made[name].gather(some)
            lists = frozenset(name for name, column in part.items() if isinstance(column.dtype, pl.List))
            answers = pl.DataFrame(list(part.values())).select(
                self._expression(number, lists).alias(str(number)) for number in numbers
            )
            for number, answer in zip(numbers, answers, strict=True):
                hit = some.filter(answer).to_list()
                ones += hit
                rules += [number] * len(hit)
        return pl.DataFrame({"one": ones, "rule": rules}, schema={"one": pl.UInt32, "rule": pl.UInt32})

    def _candidates(self, made: dict[str, pl.Series], messages: list[str]) -> pl.DataFrame:
        """(rule, the events that it may hit), for the rules that need words; adds the folded columns to `made`."""
        schema = {"field": pl.String(), "one": pl.List(pl.UInt32()), "word": pl.List(pl.String())}
        found = [pl.DataFrame(schema=schema)]
        for name, words in self._sought.items():
            if name == KEYWORDS:
                column = _form(FOLD, pl.Series(name, list(map(_searchable, messages)), dtype=pl.String))
            else:
                column = made[FOLD + name] = _form(FOLD + name, made[name])
            if column.null_count() == len(column):
                continue
            texts = column.to_frame("text").with_row_index("one")
            if isinstance(column.dtype, pl.List):
                texts = texts.explode("text")
            alike = texts.drop_nulls("text").group_by("text").agg("one")
            word = pl.col("text").str.extract_many(words, overlapping=True)
            found.append(alike.select(pl.lit(name).alias("field"), "one", word=word))
        held = pl.concat(found).filter(pl.col("word").list.len() > 0).explode("word")
        met = held.join(self._needs, on=["field", "word"]).explode("one").select("rule", "one", "set").unique()
        sets = met.group_by("rule", "one").agg(met=pl.len()).join(self._sets, on="rule")
        whole = sets.filter(pl.col("met") == pl.col("sets")).sort("rule", "one")
        return whole.group_by("rule", maintain_order=True).agg("one")

    def _expression(self, number: int, lists: frozenset[str]) -> pl.Expr:
        key = (number, lists.intersection(self._columns[number]))
        if key not in self._expressions:
            self._expressions[key] = expression(self._trees[number], key[1])
        return self._expressions[key]


def _words(trees: Mapping[int, Tree]) -> dict[int, tuple[Words, ...]]:
    """What each rule needs of an event: a word of each set."""
    uses: Counter[tuple[str, str]] = Counter()
    for tree in trees.values():
        for words in needed(tree, lambda word: 1 / len(word[1])):
            uses.update(words)

    def price(word: tuple[str, str]) -> float:
        """A word that many rules ask for is in many events; so is a short one. Keywords read whole records."""
        return (1 + uses[word]) / len(word[1]) * (1000 if word[0] == KEYWORDS else 1)

    return {number: needed(tree, price) for number, tree in trees.items()}


def _batches(candidates: pl.DataFrame) -> Iterator[tuple[list[int], pl.Series]]:
    """(rules, the events that one of them may hit): rules with few candidates together. Looking at more events than
    a rule needs changes nothing."""
    numbers: list[int] = []
    places: set[int] = set()
    for number, some in candidates.sort(pl.col("one").list.len(), "rule").iter_rows():
        if numbers and len(places | set(some)) > BATCH_ROWS:
            yield numbers, pl.Series("one", sorted(places), dtype=pl.UInt32)
            numbers, places = [], set()
        numbers.append(number)
        places.update(some)
    if numbers:
        yield numbers, pl.Series("one", sorted(places), dtype=pl.UInt32)


def _alike(made: Mapping[str, pl.Series], messages: list[str], height: int) -> pl.DataFrame:
    """(place) of the events that say the same in all columns and, where keywords are sought, in their messages."""
    columns = [column for column in made.values() if column.null_count() < height]
    if messages:
        columns.append(pl.Series(KEYWORDS, messages, dtype=pl.String))
    frame = pl.DataFrame(columns)
    names = frame.columns
    if not names:
        return pl.DataFrame({"place": [list(range(height))]}, schema={"place": pl.List(pl.UInt32)})
    if any(isinstance(kind, pl.List) for kind in frame.dtypes):
        return pl.DataFrame({"place": pl.Series(range(height), dtype=pl.UInt32).reshape((-1, 1)).arr.to_list()})
    return frame.with_row_index("place").group_by(names, maintain_order=True).agg("place").select("place")


def _leaves(message: str) -> list[str]:
    record = _record(message)
    return [message] if record is None else leaves(record)


def _searchable(message: str) -> str:
    """The message; a record with its texts escaped in the one way of `_escaped`: where words are sought."""
    if ("\\u" in message or "\\/" in message) and (record := _record(message)) is not None:
        return as_text(leaves(record))
    return message


def _record(message: str) -> dict[str, Any] | None:
    if not message.startswith("{"):
        return None
    try:
        record: dict[str, Any] = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    return record


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
