"""Give every event of a slice its verdict, and count where every row went.

Promises: one verdict for each event that is not noise; the model raises a rule's floor and never lowers it;
undecided where there is no answer; evidence is words of the event's own message, checked to be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from triage.columns import LABELS, VERDICTS
from triage.errors import PromiseBroken
from triage.records import OUTCOMES, Answer, Caseload, Shard
from triage.verdicts.validate import Thresholds, disposition, margin

_SEVERITY_OF = {"benign": "informational", "review": "medium", "escalate": "high"}
"""Where neither rule nor model names a severity."""

FindEvidence = Callable[[str, str], str | None]
"""(words of a template, message) -> the message's own words for them, or None."""


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What a verdict takes over from the rule that decided it."""

    label: str | None  # what it settles as
    severity: str | None
    category: str | None
    because: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the verdicts of one run say of where they come from."""

    run_id: str
    model_digest: str
    prompt_digest: str
    route: str = "local"


def fan_out(
    caseload: Caseload,
    answers: Sequence[Answer],
    rules: Mapping[str, RuleFacts],
    thresholds: Thresholds,
    provenance: Provenance,
    find_evidence: FindEvidence,
) -> tuple[pl.DataFrame, dict[str, int], dict[str, int]]:
    """(`verdicts`, rows by outcome, noise rows by rule). Raises PromiseBroken where the rows do not balance."""
    events = caseload.events
    noise = events.filter(outcome="noise")
    settled_by = noise.group_by(pl.col("rule_ids").list.first().alias("rule")).len().sort("rule")
    shown = events.filter(pl.col("outcome") != "noise")
    answer_of = {answer.template_id: answer for answer in answers}
    judged_at = datetime.now(UTC)
    rows = [
        _verdict(event, answer_of.get(event["template_id"]), rules, thresholds, provenance, find_evidence)
        for event in shown.iter_rows(named=True)
    ]
    shard = caseload.slice.shard
    verdicts = pl.DataFrame(
        [
            {
                "event_id": event_id(shard, int(str(row["position"]))),
                "shard": shard.uri,
                **row,
                "run_id": provenance.run_id,
                "judged_at": judged_at,
            }
            for row in rows
        ],
        schema=VERDICTS,
    )
    undecided = verdicts["disposition"] == "undecided"
    ruled = verdicts["decided_by"] == "rule"
    counts = dict.fromkeys(OUTCOMES, 0) | {
        "rows_settled": noise.height,
        "rows_ruled": int((ruled & ~undecided).sum()),
        "rows_judged": int((~ruled & ~undecided).sum()),
        "rows_undecided": int(undecided.sum()),
        "rows_quarantined": caseload.quarantine.height,
    }
    if sum(counts.values()) != caseload.rows_in:
        raise PromiseBroken(
            f"{caseload.rows_in} rows were read and {sum(counts.values())} left", where=str(caseload.slice)
        )
    return verdicts, counts, dict(settled_by.iter_rows())


def event_id(shard: Shard, position: int) -> str:
    """32 hex digits: a hash of shard, its version and position."""
    return hashlib.blake2b(f"{shard.identity} {position}".encode(), digest_size=16).hexdigest()


def _verdict(
    event: Mapping[str, object],
    answer: Answer | None,
    rules: Mapping[str, RuleFacts],
    thresholds: Thresholds,
    provenance: Provenance,
    find_evidence: FindEvidence,
) -> dict[str, object]:
    """One row of `verdicts`, without the columns that all rows of a slice share."""
    rule_ids = list(event["rule_ids"] or [])  # type: ignore[call-overload]
    deciding = rules.get(rule_ids[0]) if rule_ids else None
    floor = LABELS[int(event["floor"])]  # type: ignore[call-overload]
    row: dict[str, object] = {
        name: event[name]
        for name in (
            "position",
            "timestamp",
            "host",
            "message",
            "tags",
            "injection_suspected",
            "template_id",
            "template_rows",
        )
    }
    row |= {"rule_ids": rule_ids, "evidence": [], "evidence_dropped": 0}
    if event["outcome"] == "ruled":
        return row | _by_rule(floor, deciding)
    row |= {
        "route": provenance.route,
        "model_digest": provenance.model_digest,
        "prompt_digest": provenance.prompt_digest,
    }
    row |= {"judged_in": provenance.run_id}
    if answer is None or answer.probabilities is None:
        row |= {"reason": answer.reason if answer else "no answer came back"}
        if floor != "benign":
            return row | _by_rule(floor, deciding)
        return row | {"disposition": "undecided", "decided_by": "model"}
    p = answer.probabilities
    said = disposition(p, thresholds)
    row |= {f"p_{label}": p[label] for label in LABELS} | {"margin": margin(p)}
    if LABELS.index(said) < LABELS.index(floor):
        # The rule's word stands, and the model's lower opinion is kept beside it in the probabilities.
        return row | _by_rule(floor, deciding) | {"confidence": p[floor]}
    told = answer.explanation
    quotes = [find_evidence(words, str(event["message"])) for words in told.evidence] if told else []
    found = [quote for quote in quotes if quote]
    return row | {
        "disposition": said,
        "confidence": p[said],
        "decided_by": "model",
        "severity": (told.severity if told and said != "benign" else None) or _SEVERITY_OF[said],
        "category": told.category if told else None,
        "rationale": told.rationale if told else None,
        "next_step": told.next_step if told else None,
        "evidence": list(dict.fromkeys(found)),
        "evidence_dropped": len(quotes) - len(found),
        "reason": told.problem if told else None,
    }


def _by_rule(label: str, deciding: RuleFacts | None) -> dict[str, object]:
    return {
        "disposition": label,
        "decided_by": "rule",
        "severity": (deciding.severity if deciding else None) or _SEVERITY_OF[label],
        "category": deciding.category if deciding else None,
        "rationale": deciding.because if deciding else None,
    }
