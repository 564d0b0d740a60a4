"""Read what the model said, and believe only what can be checked.

Promises: an answer that cannot be read never becomes benign; a quotation that is not in the template is dropped and
counted; a problem is described without quoting the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from triage.columns import CATEGORIES, LABELS, SEVERITIES, Label
from triage.records import Explanation


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities from which an event is shown; see `disposition`."""

    review_at: float
    escalate_at: float


def disposition(p: Mapping[Label, float], thresholds: Thresholds) -> Label:
    """The disposition that probabilities mean: escalate from `escalate_at` on, review where benign is not likely
    enough, benign otherwise. Total on probabilities that sum to one."""
    if p["escalate"] >= thresholds.escalate_at:
        return "escalate"
    if p["review"] + p["escalate"] >= thresholds.review_at:
        return "review"
    return "benign"


def margin(p: Mapping[Label, float]) -> float:
    """The distance between the two most probable labels, from 0 (a toss-up) to 1."""
    first, second, *_ = sorted(p.values(), reverse=True)
    return first - second


def explanation(text: str, *, finished: bool) -> Explanation:
    """The explanation that `text` holds. What is missing or wrong is None, with a `problem`; never raises."""
    if not finished:
        return Explanation(problem="the explanation was cut off")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Explanation(problem="the explanation is not JSON")
    if not isinstance(value, dict):
        return Explanation(problem="the explanation is not an object")
    quotes = value.get("evidence")
    return Explanation(
        severity=_one_of(SEVERITIES, value.get("severity")),
        category=_one_of(CATEGORIES, value.get("category")),
        rationale=_text(value.get("rationale")),
        evidence=tuple(q for q in quotes if _text(q)) if isinstance(quotes, list) else (),
        next_step=_text(value.get("next_step")),
    )


def worst(*labels: str | None) -> str | None:
    """The most urgent of the labels given, None where there is none."""
    known = [label for label in labels if label in LABELS]
    return max(known, key=LABELS.index) if known else None


def _one_of(words: tuple[str, ...], value: object) -> str | None:
    return value if isinstance(value, str) and value in words else None


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
