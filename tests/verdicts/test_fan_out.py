"""Every row leaves once; the model raises what a rule decided and never lowers it; no answer is no benign."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verdicts.builders import THRESHOLDS, WORDS, answer, caseload, deciding
from triage.columns import LABELS
from triage.errors import PromiseBroken
from triage.records import Caseload, Correction, Explanation, Tally
from triage.verdicts import validate
from triage.verdicts.fan_out import fan_out
from triage.verdicts.measured import tallied
from triage.verdicts.validate import Thresholds

P = st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100)).map(
    lambda n: (n[0] / sum(n), n[1] / sum(n), n[2] / sum(n))
)
MESSAGES = st.lists(st.sets(st.sampled_from(WORDS), max_size=3).map(lambda w: " ".join(sorted(w))), max_size=12)


NOW = datetime(2026, 11, 24, tzinfo=UTC)
BENIGN, REVIEW, ESCALATE = (0.9, 0.1, 0.0), (0.1, 0.8, 0.1), (0.0, 0.1, 0.9)


def in_message(words: str, template: str, message: str) -> str | None:
    return words.strip() or None if words in message else None


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
    verdicts, counts, settled_by = fan_out(load, deciding(answers), in_message)
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
        fan_out(wrong, deciding([]), in_message)


def test_evidence_is_words_of_the_message_and_what_is_not_is_dropped_and_counted() -> None:
    load = caseload(["login by root"])
    told = Explanation("high", "web", "because", ("root", "root", "not there", " "), "look")
    answers = [answer(load.questions[0].template_id, (0.0, 0.0, 1.0), explanation=told)]
    row = fan_out(load, deciding(answers), in_message)[0].row(0, named=True)
    assert (row["evidence"], row["evidence_dropped"], row["decided_by"]) == (["root"], 2, "model")


def with_column(load: Caseload, name: str, values: list[str | None]) -> Caseload:
    return dataclasses.replace(load, events=load.events.with_columns(pl.Series(name, values, dtype=pl.String)))


@pytest.mark.parametrize("message", ["", "noise", "raised-escalate", "settled-escalate"])
def test_a_correction_stands_above_rules_and_model_and_is_the_only_thing_that_lowers_them(message: str) -> None:
    load = with_column(caseload([message]), "correction", ["c1"])
    load = dataclasses.replace(load, events=load.events.with_columns(outcome=pl.lit("corrected")))
    made = Correction("c1", "f", "benign", "backup job", "ann", NOW, NOW)
    verdicts, counts, _ = fan_out(load, deciding([answer(name, ESCALATE) for name in load.texts], made), in_message)
    row = verdicts.row(0, named=True)
    assert (row["disposition"], row["decided_by"], row["rationale"]) == ("benign", "analyst", "backup job")
    assert (row["correction"], row["p_benign"], counts["rows_corrected"]) == ("c1", None, 1)
    assert row["rule_ids"] == ([message] if message else [])


def test_what_another_run_answered_says_so_and_lowers_no_rule() -> None:
    load = caseload(["x", "raised-review"])
    answers = [answer(name, BENIGN, judged_in="older", asked=0) for name in load.texts]
    verdicts, counts, _ = fan_out(load, deciding(answers), in_message)
    assert verdicts.sort("position")["decided_by"].to_list() == ["memory", "rule"]
    assert set(verdicts["judged_in"]) == {"older"}
    assert (counts["rows_from_memory"], counts["rows_ruled"]) == (1, 1)


@pytest.mark.parametrize(("p", "shown"), [(BENIGN, 0), (None, 0), (REVIEW, 1), (ESCALATE, 1)])
def test_noise_that_was_drawn_is_raised_by_the_judge_or_stays_noise(p: tuple[float, float, float], shown: int) -> None:
    load = with_column(caseload(["noise", "noise"]), "sampled", ["settled", None])
    load = dataclasses.replace(load, samples={"settled": Tally(2, weight=2.0)})
    (name,) = load.texts
    decided = deciding([answer(name, p)])
    verdicts, counts, _ = fan_out(load, decided, in_message)
    assert (counts["rows_judged"], counts["rows_settled"]) == (shown, 2 - shown)
    assert verdicts["reason"].to_list() == ["drawn from what the rule noise settled as benign"] * shown
    told = tallied(load, decided.answers, THRESHOLDS)["settled"]
    assert (told.judged, told.found, told.undecided) == (int(p is not None), shown, int(p is None))


def test_an_event_judged_on_its_own_keeps_the_worse_of_both_answers() -> None:
    load = with_column(caseload(["a", "b"]), "own_id", ["own-a", "own-b"])
    load = dataclasses.replace(
        with_column(load, "sampled", ["shared", "shared"]), samples={"shared": Tally(2, weight=1.0)}
    )
    a, b = (question.template_id for question in load.questions)
    alone = [answer("own-a", ESCALATE), answer("own-b", BENIGN)]
    decided = deciding([answer(a, BENIGN), answer(b, REVIEW), *alone])
    verdicts, _, _ = fan_out(load, decided, in_message)
    assert verdicts.sort("position")["disposition"].to_list() == ["escalate", "review"]
    assert "was answered benign" in verdicts.sort("position")["reason"][0]
    told = tallied(load, decided.answers, THRESHOLDS)["shared"]
    assert (told.judged, told.found) == (2, 2)
    assert told.shift == pytest.approx(0.9 + 0.8)


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
