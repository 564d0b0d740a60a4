"""Verdicts and labels, made small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from triage.columns import VERDICTS

SHARD = "/logs/day.jsonl"


def verdicts(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """`verdicts` of rows that say what matters: the model gave `p` (benign, review, escalate), or somebody else
    decided. Each is a template of its own unless it says `template_id`."""
    whole = []
    for position, row in enumerate(rows):
        p = row.get("p")
        probabilities = dict(zip(("p_benign", "p_review", "p_escalate"), p, strict=True)) if p else {}
        made = {
            "event_id": f"e{position}",
            "shard": SHARD,
            "position": position,
            "message": f"line {position}",
            "template_id": f"t{position}",
            "disposition": _said(p),
            "decided_by": "model",
        }
        whole.append(made | probabilities | {name: value for name, value in row.items() if name != "p"})
    return pl.DataFrame(whole, schema_overrides=VERDICTS).select(
        pl.col(name).cast(kind)
        if name in whole[0] or any(name in row for row in whole)
        else pl.lit(None, kind).alias(name)
        for name, kind in VERDICTS.items()
    )


def _said(p: tuple[float, float, float] | None) -> str:
    if p is None:
        return "undecided"
    return "escalate" if p[2] >= 0.5 else "review" if p[1] + p[2] >= 0.5 else "benign"


def write_labels(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path
