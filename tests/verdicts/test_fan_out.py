"""Every row leaves once; the model raises what a rule decided and never lowers it; no answer is no benign."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verdicts.builders import FACTS, FROM, THRESHOLDS, WORDS, answer, caseload
from triage.columns import LABELS
from triage.condense.template import found_in
from triage.errors import PromiseBroken
from triage.records import Caseload, Explanation
from triage.verdicts import validate
from triage.verdicts.fan_out import fan_out
from triage.verdicts.validate import Thresholds

P = st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100)).map(
    lambda n: (n[0] / sum(n), n[1] / sum(n), n[2] / sum(n))
)
MESSAGES = st.lists(st.sets(st.sampled_from(WORDS), max_size=3).map(lambda w: " ".join(sorted(w))), max_size=12)


@given(P, P, st.floats(0, 1), st.floats(0, 1))
def test_disposition_is_total_and_only_rises_with_urgency(
    a: tuple[float, float, float], b: tuple[float, float, float], review_at: float, escalate_at: float
) -> None:
    thresholds = Thresholds(review_at, escalate_at)
    ranks = []
    for benign, review, escalate in (a, b):
        said = validate.disposition({"benign": benign, "review": review, "escalate": escalate}, thresholds)
        ranks.append(LABELS.index(said))
    if a[2] <= b[2] and a[1] + a[2] <= b[1] + b[2]:
        assert ranks[0] <= ranks[1]


@given(MESSAGES, st.integers(0, 3), st.data())
@settings(max_examples=80, deadline=None)
def test_rows_are_conserved_and_no_rule_is_lowered(messages: list[str], bad: int, data: st.DataObject) -> None:
    load = caseload(messages, bad)
    drawn = {q.template_id: data.draw(P | st.none()) for q in load.questions}
    kept = data.draw(st.sets(st.sampled_from(sorted(drawn)))) if drawn else set()
    answers = [answer(name, drawn[name]) for name in kept]
    verdicts, counts, settled_by = fan_out(load, answers, FACTS, THRESHOLDS, FROM, found_in)
    assert sum(counts.values()) == load.rows_in
    assert verdicts.height == len(messages) - counts["rows_settled"]
    assert sum(settled_by.values()) == counts["rows_settled"]
    assert verdicts["event_id"].n_unique() == verdicts.height
    floors = {row["position"]: row["floor"] for row in load.events.iter_rows(named=True)}
    for row in verdicts.iter_rows(named=True):
        p = drawn[row["template_id"]] if row["template_id"] in kept else None
        if row["disposition"] == "undecided":
            assert p is None
            assert row["reason"]
            assert floors[row["position"]] == 0
            continue
        rank = LABELS.index(row["disposition"])
        assert rank >= floors[row["position"]]
        if p and "settled-" not in row["message"]:
            said = validate.disposition(dict(zip(LABELS, p, strict=True)), THRESHOLDS)
            assert rank == max(floors[row["position"]], LABELS.index(said))
        if row["disposition"] == "benign":
            assert p is not None


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_row_that_is_lost_or_doubled_breaks_the_promise(off_by: int) -> None:
    load = caseload(["x", "noise"])
    wrong: Caseload = dataclasses.replace(load, rows_in=load.rows_in + off_by)
    with pytest.raises(PromiseBroken, match="rows were read"):
        fan_out(wrong, [], FACTS, THRESHOLDS, FROM, found_in)


def test_evidence_is_words_of_the_message_and_what_is_not_is_dropped_and_counted() -> None:
    load = caseload(["login by root"])
    told = Explanation("high", "web", "because", ("root", "root", "not there", " "), "look")
    answers = [answer(load.questions[0].template_id, (0.0, 0.0, 1.0), explanation=told)]
    row = fan_out(load, answers, FACTS, THRESHOLDS, FROM, found_in)[0].row(0, named=True)
    assert (row["evidence"], row["evidence_dropped"], row["decided_by"]) == (["root"], 2, "model")


@given(st.text() | st.from_regex(r'\{"(severity|evidence|rationale)": ?(\[?"[a-z ]*"\]?|null|1|\{\})\}'), st.booleans())
def test_any_text_is_an_explanation_or_a_problem_that_does_not_quote_it(text: str, finished: bool) -> None:
    told = validate.explanation(text, finished=finished)
    assert told.problem is None or told == Explanation(problem=told.problem)
    assert finished or told.problem == "the explanation was cut off"
    assert all(isinstance(quote, str) and quote.strip() for quote in told.evidence)


def test_the_worst_of_labels() -> None:
    for a, b in itertools.product([*LABELS, None], repeat=2):
        known = [label for label in (a, b) if label]
        assert validate.worst(a, b) == (max(known, key=LABELS.index) if known else None)
