"""Small caseloads, answers and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from triage.columns import EVENTS, QUARANTINE
from triage.condense.template import condense
from triage.prefilter.rules import Rule
from triage.prefilter.sift import sift
from triage.records import Answer, Caseload, Correction, Question, Receipt, Shard, Slice, Tally, Usage
from triage.verdicts.fan_out import Deciding, Provenance, RuleFacts
from triage.verdicts.validate import Thresholds

SHARD = Shard("day.jsonl", "jsonl", None, 10, "v1", ())
THRESHOLDS = Thresholds(0.5, 0.5)
FROM = Provenance("run", (("model", "prompt", None),))
# The word in a message that makes each rule hit.
RULES = tuple(
    Rule.model_validate({"id": word, "because": "a test", "when": {"message": {"contains": word}}, **action})
    for word, action in {
        "noise": {"settle": "benign"},
        "settled-review": {"settle": "review"},
        "settled-escalate": {"settle": "escalate"},
        "raised-review": {"raise": "review"},
        "raised-escalate": {"raise": "escalate"},
        "marked": {"mark": True, "tags": ["t"]},
    }.items()
)
FACTS = {r.id: RuleFacts(r.settle or r.raise_, r.severity, r.category, r.because) for r in RULES}
WORDS = ("", *FACTS)


def caseload(messages: list[str], quarantined: int = 0) -> Caseload:
    rows = [{"position": i, "message": message} for i, message in enumerate(messages)]
    events, templates = condense(pl.DataFrame(rows, schema=EVENTS), "exact")
    drawn = {"sampled": pl.lit(None, pl.String), "own_id": pl.lit(None, pl.String)}
    events = sift(events, RULES).with_columns(**drawn)
    asked = templates.filter(pl.col("template_id").is_in(events.filter(outcome="asked")["template_id"].implode()))
    bad = [{"shard": SHARD.uri, "position": -i, "reason": "not JSON", "bytes": b"x"} for i in range(quarantined)]
    return Caseload(
        slice=Slice(SHARD, 0, 10),
        slice_id="a" * 32,
        last=True,
        follows=None,
        rows_in=len(messages) + quarantined,
        events=events,
        quarantine=pl.DataFrame(bad, schema=QUARANTINE),
        known=(),
        questions=tuple(Question(row["template_id"], row["template"]) for row in asked.iter_rows(named=True)),
        texts=dict(templates.select("template_id", "template").iter_rows()),
        only_sampled=frozenset(),
        memory_refused=0,
        samples={"settled": Tally(), "shared": Tally()},
        prepare_seconds=0.0,
    )


def deciding(answers: Sequence[Answer], *corrections: Correction) -> Deciding:
    by_id = {correction.id: correction for correction in corrections}
    return Deciding({a.template_id: a for a in answers}, FACTS, by_id, THRESHOLDS, FROM)


def answer(template_id: str, p: tuple[float, float, float] | None, **fields: Any) -> Answer:
    labels = ("benign", "review", "escalate")
    reason = None if p else "refused"
    return Answer(template_id, dict(zip(labels, p, strict=True)) if p else None, reason, **fields)  # type: ignore[arg-type]


def receipt(slice_id: str = "a" * 32, **fields: Any) -> Receipt:
    rows = {"rows_in": 3, "rows_settled": 1, "rows_judged": 2}
    plain: dict[str, Any] = {
        "slice_id": slice_id, "shard": "day.jsonl", "shard_version": "v1", "start": 0, "stop": 10, "last": True,
        "follows": None, "rows": rows, "dispositions": {"benign": 2}, "settled_by_rule": {"noise": 1}, "questions": 2,
        "sample_questions": 1, "templates_from_memory": 0, "memory_refused": 0, "samples": {"settled": Tally(1)},
        "cascade": {}, "usage": Usage(10, 5, 2), "prepare_seconds": 0.0, "judge_seconds": 0.0, "settle_seconds": 0.0,
        "files": {},
        "run_id": "run", "attempt": 1, "committed_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Receipt(**(plain | fields))
