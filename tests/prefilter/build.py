"""Builders of rules and events, and one way to ask which events a rule hits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import yaml

from triage.columns import EVENTS
from triage.prefilter.sigma import Ruleset
from triage.prefilter.sigma_compile import load

ID = "00000000-0000-4000-8000-{:012d}"
APPLICATION = {"product": "windows", "service": "application"}


def ruleset(folder: Path, *detections: Mapping[str, Any], source: Any = None, **fields: Any) -> Ruleset:
    documents = [
        {"title": "a test", "id": ID.format(n), "logsource": source or APPLICATION, "detection": detection, **fields}
        for n, detection in enumerate(detections)
    ]
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True), "utf-8")
    return load([str(path)])


def one(item: Any) -> dict[str, Any]:
    return {"sel": item, "condition": "sel"}


def events(*messages: Any) -> pl.DataFrame:
    texts = [m if isinstance(m, str) else orjson.dumps(m, option=orjson.OPT_SORT_KEYS).decode() for m in messages]
    return pl.DataFrame([{"position": i, "message": text} for i, text in enumerate(texts)], schema=EVENTS)


def hits(rules: Ruleset, *messages: Any) -> list[bool]:
    assert rules.refused == ()
    found = set(rules.hits(events(*messages))["row"].to_list())
    return [row in found for row in range(len(messages))]


def values(rules: Ruleset, *fields: Any) -> list[bool]:
    """Whether the rules hit an event whose field `f` has each value; a missing one for None."""
    return hits(rules, *({"Channel": "Application", **({} if v is None else {"f": v})} for v in fields))
