"""Sigma rules at work: a ruleset, and which of its rules hit which events of a slice.

Each message is read once, and of its fields those are kept that a rule may ask for; events go by the log sources that
they tell, and a log source's rules (`sigma_group`) see only its events.

Loads nothing: that is `sigma_compile`, the only importer of pySigma's parser.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from triage.prefilter import sigma_fields, sigma_sources
from triage.prefilter.sigma_group import Alike, Group
from triage.prefilter.sigma_sources import LogSource
from triage.prefilter.sigma_tree import KEYWORDS, Tree, expression, fields_of

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
    def _groups(self) -> tuple[tuple[LogSource, Group], ...]:
        """The rules of each log source, those that search whole messages by themselves."""
        by_source: dict[tuple[LogSource, bool], dict[int, Tree]] = {}
        for number, rule in enumerate(self.rules):
            by_source.setdefault((rule.logsource, KEYWORDS in fields_of(rule.tree)), {})[number] = rule.tree
        return tuple((source, Group(trees)) for (source, _), trees in by_source.items())

    @cached_property
    def _seen(self) -> dict[tuple[LogSource, ...], tuple[Group, ...]]:
        return {}

    def _groups_that_see(self, sources: tuple[LogSource, ...]) -> tuple[Group, ...]:
        if sources not in self._seen:
            self._seen[sources] = tuple(
                group for of, group in self._groups if any(sigma_sources.sees(of, source) for source in sources)
            )
        return self._seen[sources]

    def hits(self, events: pl.DataFrame) -> pl.DataFrame:
        """(row of `events`, index in `rules`) of every hit."""
        kinds: dict[tuple[LogSource, ...], Alike] = {}
        for row, (message, service) in enumerate(events.select("message", "service").iter_rows()):
            fields, sources = sigma_fields.read(message, service)
            if not sources:
                continue
            alike = kinds.get(sources)
            if alike is None:
                names = sorted({name for group in self._groups_that_see(sources) for name in group.fields})
                alike = kinds[sources] = Alike(values={name: [] for name in names})
            alike.rows.append(row)
            alike.messages.append(message or "")
            for name, values in alike.values.items():
                values.append(fields.get(name))
        parts: dict[Group, list[Alike]] = {}
        for sources, alike in kinds.items():
            for group in self._groups_that_see(sources):
                parts.setdefault(group, []).append(alike)
        return pl.concat([pl.DataFrame(schema=HITS), *(group.hits(alike) for group, alike in parts.items())])
