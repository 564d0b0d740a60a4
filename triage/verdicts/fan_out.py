"""Give every event of a slice its verdict, and count where every row went.

Events that the same things decide are one case: a case is decided once and its verdict fanned out to its events.

Promises: one verdict for each event that is not noise; the model raises a rule's floor and never lowers it, only a
correction does; undecided where there is no answer; evidence is words of the event's own message, checked to be in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from triage.columns import LABELS, VERDICTS, Label
from triage.errors import PromiseBroken
from triage.records import OUTCOMES, Answer, Caseload, Correction, Shard
from triage.verdicts.validate import Thresholds, disposition, margin

_SEVERITY_OF = {"benign": "informational", "review": "medium", "escalate": "high"}
"""Where neither rule nor model names a severity."""

FindEvidence = Callable[[str, str, str], str | None]
"""(quotation, the template it is from, message) -> the message's own words for it, or None."""

_CASE: Final = ("outcome", "floor", "rule", "template_id", "correction", "sampled", "own_id")
"""What decides an event, beside the answers."""

_DECIDED: Final = (
    "disposition", "severity", "category", "p_benign", "p_review", "p_escalate", "confidence", "margin", "decided_by",
    "rationale", "next_step", "reason", "route", "model_digest", "prompt_digest", "calibration_digest",
    "judged_in",
)  # fmt: skip
"""The columns of `verdicts` that a case decides."""


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
    stages: tuple[tuple[str, str, str | None], ...]  # digests of weights, prompt and calibration, of each model
    route: str = "local"


@dataclass(frozen=True)
class Deciding:
    """All that decides cases: answers by template, rules and corrections by id."""

    answers: Mapping[str, Answer]
    rules: Mapping[str, RuleFacts]
    corrections: Mapping[str, Correction]
    thresholds: Thresholds
    provenance: Provenance


def fan_out(
    caseload: Caseload, deciding: Deciding, find_evidence: FindEvidence
) -> tuple[pl.DataFrame, dict[str, int], dict[str, int]]:
    """(`verdicts`, rows by outcome, noise rows by rule). Raises PromiseBroken where the rows do not balance."""
    events = _with_raised(caseload.events, deciding).with_columns(rule=pl.col("rule_ids").list.first())
    noise = events.filter(outcome="noise")
    settled_by = noise.group_by("rule").len().sort("rule")
    verdicts = _verdicts(caseload, events.filter(pl.col("outcome") != "noise"), deciding, find_evidence)
    undecided = verdicts["disposition"] == "undecided"
    by = dict(verdicts.filter(~undecided).group_by("decided_by").len().iter_rows())
    counts = dict.fromkeys(OUTCOMES, 0) | {
        "rows_settled": noise.height,
        "rows_ruled": by.get("rule", 0),
        "rows_judged": by.get("model", 0),
        "rows_from_memory": by.get("memory", 0),
        "rows_corrected": by.get("analyst", 0),
        "rows_undecided": int(undecided.sum()),
        "rows_quarantined": caseload.quarantine.height,
    }
    if sum(counts.values()) != caseload.rows_in:
        raise PromiseBroken(
            f"{caseload.rows_in} rows were read and {sum(counts.values())} left", where=str(caseload.slice)
        )
    return verdicts, counts, dict(settled_by.iter_rows())


def event_ids(shard: Shard, positions: pl.Series) -> pl.Series:
    """32 hex digits each: a hash of shard, its version and position."""
    start = hashlib.blake2b(f"{shard.identity} ".encode(), digest_size=16)

    def one(position: int) -> str:
        whole = start.copy()
        whole.update(b"%d" % position)
        return whole.hexdigest()

    return pl.Series("event_id", [one(position) for position in positions], dtype=pl.String)


def _with_raised(events: pl.DataFrame, deciding: Deciding) -> pl.DataFrame:
    """Rows that a rule settled as benign, that were drawn to be judged anyway, and that the judge raised, are noise no
    longer."""
    drawn = (pl.col("outcome") == "noise") & (pl.col("sampled") == "settled")
    raised = [
        template_id
        for template_id in events.filter(drawn)["template_id"].unique()
        if _said(deciding.answers.get(template_id), deciding.thresholds) not in (None, "benign")
    ]
    return events.with_columns(
        outcome=pl.when(drawn & pl.col("template_id").is_in(raised)).then(pl.lit("asked")).otherwise("outcome")
    )


def _verdicts(caseload: Caseload, shown: pl.DataFrame, deciding: Deciding, find_evidence: FindEvidence) -> pl.DataFrame:
    cases = shown.select(_CASE).unique(maintain_order=True).with_row_index("case")
    shown = shown.join(cases, on=_CASE, how="left", nulls_equal=True, maintain_order="left").with_row_index("row")
    decided, quotes = [], {}
    for case in cases.iter_rows(named=True):
        verdict, answer = _verdict(case, deciding)
        decided.append(verdict)
        if answer and answer.explanation and answer.explanation.evidence:
            quotes[case["case"]] = (answer.explanation.evidence, caseload.texts[answer.template_id])
    shard, provenance = caseload.slice.shard, deciding.provenance
    return (
        shown.with_columns(
            event_ids(shard, shown["position"]),
            shard=pl.lit(shard.uri),
            run_id=pl.lit(provenance.run_id),
            judged_at=pl.lit(datetime.now(UTC)),
        )
        .join(_frame(decided), on="case", how="left", maintain_order="left")
        .join(_evidence(shown, quotes, find_evidence), on="row", how="left", maintain_order="left")
        .with_columns(
            pl.col("evidence").fill_null(pl.lit([], pl.List(pl.String))), pl.col("evidence_dropped").fill_null(0)
        )
        .select(pl.col(name).cast(kind) for name, kind in VERDICTS.items())
    )


def _frame(decided: list[dict[str, object]]) -> pl.DataFrame:
    frame = pl.DataFrame(decided, schema={name: VERDICTS[name] for name in _DECIDED})
    return frame.with_row_index("case")


def _evidence(
    shown: pl.DataFrame, quotes: Mapping[int, tuple[tuple[str, ...], str]], find_evidence: FindEvidence
) -> pl.DataFrame:
    """`row`, `evidence` and `evidence_dropped` of the events whose answer quotes something."""
    rows = []
    quoted = shown.select("row", "case", "message").filter(pl.col("case").is_in(list(quotes)))
    for row, case, message in quoted.iter_rows():
        evidence, text = quotes[case]
        found = [find_evidence(words, text, message) for words in evidence]
        kept = [words for words in found if words]
        rows.append((row, list(dict.fromkeys(kept)), len(found) - len(kept)))
    schema = {"row": pl.UInt32(), "evidence": pl.List(pl.String), "evidence_dropped": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _verdict(case: Mapping[str, Any], deciding: Deciding) -> tuple[dict[str, object], Answer | None]:
    """(what the case's events have of `_DECIDED`, the answer whose quotations are their evidence)."""
    rule = deciding.rules.get(case["rule"])
    floor = LABELS[case["floor"]]
    if case["correction"] is not None:
        return _by_analyst(deciding.corrections[case["correction"]]), None
    if case["outcome"] == "ruled":
        return _by_rule(floor, rule), None
    answer = deciding.answers.get(case["template_id"])
    said = _said(answer, deciding.thresholds)
    note = None
    if case["sampled"] == "settled":
        note = f"drawn from what the rule {case['rule']} settled as benign"
    own = deciding.answers.get(case["own_id"])
    if own and (alone := _said(own, deciding.thresholds)) and said and LABELS.index(alone) > LABELS.index(said):
        note = f"drawn to be judged on its own: the question it shared was answered {said}"
        answer, said = own, alone
    provenance = deciding.provenance
    model, prompt, calibration = provenance.stages[answer.stage if answer else 0]
    verdict: dict[str, object] = {
        "route": provenance.route,
        "model_digest": model,
        "prompt_digest": prompt,
        "calibration_digest": calibration,
        "judged_in": (answer.judged_in if answer else None) or provenance.run_id,
    }
    if answer is None or answer.probabilities is None or said is None:
        verdict |= {"reason": answer.reason if answer else "no answer came back"}
        if floor != "benign":
            return verdict | _by_rule(floor, rule), None
        return verdict | {"disposition": "undecided", "decided_by": "model"}, None
    p = answer.probabilities
    verdict |= {f"p_{label}": p[label] for label in LABELS} | {"margin": margin(p)}
    if LABELS.index(said) < LABELS.index(floor):
        # The rule's word stands, and the model's lower opinion is kept beside it in the probabilities.
        return verdict | _by_rule(floor, rule) | {"confidence": p[LABELS[case["floor"]]]}, None
    told = answer.explanation
    return verdict | {
        "disposition": said,
        "confidence": p[said],
        "decided_by": "memory" if answer.judged_in else "model",
        "severity": (told.severity if told and said != "benign" else None) or _SEVERITY_OF[said],
        "category": told.category if told else None,
        "rationale": told.rationale if told else None,
        "next_step": told.next_step if told else None,
        "reason": note or (told.problem if told else None),
    }, answer


def _said(answer: Answer | None, thresholds: Thresholds) -> Label | None:
    if answer is None or answer.probabilities is None:
        return None
    return disposition(answer.probabilities, thresholds)


def _by_rule(label: str, rule: RuleFacts | None) -> dict[str, object]:
    return {
        "disposition": label,
        "decided_by": "rule",
        "severity": (rule.severity if rule else None) or _SEVERITY_OF[label],
        "category": rule.category if rule else None,
        "rationale": rule.because if rule else None,
    }


def _by_analyst(correction: Correction) -> dict[str, object]:
    return {
        "disposition": correction.disposition,
        "decided_by": "analyst",
        "severity": _SEVERITY_OF[correction.disposition],
        "rationale": correction.because,
    }
