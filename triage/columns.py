"""Names and types of the columns that the rooms meet in.

`events` has one row per log record in canonical columns; `verdicts` one row per event that was not settled as
noise; `quarantine` one row per record that could not be read.
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

UTC_US: Final = pl.Datetime("us", "UTC")

# What a job file's `[input.fields]` may map, and what rules may test.
CANONICAL: Final[dict[str, pl.DataType]] = {
    "timestamp": UTC_US,
    "host": pl.String(),
    "level": pl.String(),
    "service": pl.String(),
    "user": pl.String(),
    "message": pl.String(),
}

# Before the name of a shard's own column that a rule tests: such columns of `events` are text, and end with sifting.
SOURCE: Final = "source."

EVENTS: Final[dict[str, pl.DataType]] = {"position": pl.Int64(), **CANONICAL}

QUARANTINE: Final[dict[str, pl.DataType]] = {
    "shard": pl.String(),
    "position": pl.Int64(),
    "reason": pl.String(),
    "bytes": pl.Binary(),
}

Label = Literal["benign", "review", "escalate"]
# From least to most urgent: a label's index is its rank.
LABELS: Final[tuple[Label, ...]] = ("benign", "review", "escalate")
DISPOSITIONS: Final = (*LABELS, "undecided")
SEVERITIES: Final = ("informational", "low", "medium", "high", "critical")  # OCSF severity_id 1 to 5
DECIDERS: Final = ("rule", "model", "memory", "analyst")
CATEGORIES: Final = (
    "authentication", "network", "web", "malware", "privilege", "configuration",
    "data", "hardware", "availability", "application", "prompt_injection", "other",
)  # fmt: skip

VERDICTS: Final[dict[str, pl.DataType]] = {
    "event_id": pl.String(),
    "shard": pl.String(),
    "position": pl.Int64(),
    "timestamp": UTC_US,
    "host": pl.String(),
    "message": pl.String(),
    "disposition": pl.String(),
    "severity": pl.String(),
    "category": pl.String(),
    "p_benign": pl.Float64(),
    "p_review": pl.Float64(),
    "p_escalate": pl.Float64(),
    "confidence": pl.Float64(),
    "margin": pl.Float64(),
    "decided_by": pl.String(),
    "rule_ids": pl.List(pl.String()),
    "tags": pl.List(pl.String()),
    "rationale": pl.String(),
    "evidence": pl.List(pl.String()),
    "evidence_dropped": pl.Int64(),
    "next_step": pl.String(),
    "injection_suspected": pl.Boolean(),
    "reason": pl.String(),
    "template_id": pl.String(),
    "template_rows": pl.Int64(),
    "template_hosts": pl.Int64(),
    "template_first": UTC_US,
    "template_last": UTC_US,
    "correction": pl.String(),
    "sampled": pl.String(),
    "route": pl.String(),
    "model_digest": pl.String(),
    "prompt_digest": pl.String(),
    "calibration_digest": pl.String(),
    "judged_in": pl.String(),
    "run_id": pl.String(),
    "judged_at": UTC_US,
}
