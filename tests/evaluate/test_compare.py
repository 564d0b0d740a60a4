"""Two runs side by side: what changed, and whether the data can tell which is better."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.build import verdicts, write_labels
from triage.evaluate.compare import Pairs, against, agreement, mcnemar, pair, settled_in_both
from triage.evaluate.finding import finding
from triage.evaluate.join import joined
from triage.evaluate.labels import read_labels

BENIGN, REVIEW, ESCALATE = (0.8, 0.15, 0.05), (0.2, 0.7, 0.1), (0.1, 0.1, 0.8)


def paired(a: list[dict[str, Any]], b: list[dict[str, Any]], settled: tuple[int, int] = (0, 0)) -> Pairs:
    of_a, of_b = verdicts(a).lazy(), verdicts(b).lazy()
    return pair(of_a, of_b, rows_settled_a=settled[0], rows_settled_b=settled[1])


def held(tmp_path: Path, pairs: Pairs, truth: list[str]) -> dict[str, Any]:
    rows = [{"message": f"line {n}", "triage": said} for n, said in enumerate(truth)]
    labels = read_labels(write_labels(tmp_path / "l.jsonl", rows))
    found = joined(labels, pairs.lines.lazy(), settled_in_both(), (), lambda messages: messages)
    return against(labels, found, resamples=200, seed=0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_two_sided_binomial_and_the_same_from_both_sides(a: int, b: int) -> None:
    n = a + b
    tail = sum(comb(n, k) for k in range(min(a, b) + 1)) / 2**n
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(a, b) == mcnemar(b, a)


def test_what_changed_is_counted_by_line_and_by_template_worst_first() -> None:
    a = [{"p": p, "template_id": t} for p, t in ((BENIGN, "t0"), (BENIGN, "t0"), (REVIEW, "t1"), (BENIGN, "t2"))]
    b = [{"p": p, "template_id": t} for p, t in ((REVIEW, "t0"), (REVIEW, "t0"), (ESCALATE, "t1"), (BENIGN, "t2"))]
    told = agreement(paired(a, b), limit=10)
    assert (told["lines"], told["same"], told["changed_lines"], told["changed_templates"]) == (4, 1, 3, 2)
    assert told["dispositions"]["benign"] == {"benign": 1, "review": 2, "escalate": 0, "undecided": 0}
    assert [(row["disposition_a"], row["disposition_b"], row["rows"]) for row in told["changed"]] == [
        ("review", "escalate", 1),
        ("benign", "review", 2),
    ]
    assert told["mean_abs_change_p_benign"] == pytest.approx((0.6 + 0.6 + 0.1) / 4)
    assert told["shown"]["templates"] == {"a": 1, "b": 2, "only_a": 0, "only_b": 1, "p": 1.0}
    assert "message" not in agreement(paired(a, b), limit=10, with_lines=False)["changed"][0]
    assert len(agreement(paired(a, b), limit=1)["changed"]) == 1


def test_a_run_beside_itself_is_the_same() -> None:
    rows = [{"p": REVIEW}, {"p": BENIGN}, {"disposition": "undecided"}]
    told = agreement(paired(rows, rows), limit=10)
    assert (told["same"], told["changed"], told["mean_abs_change_p_benign"]) == (3, [], 0)
    assert finding(told, None) == "All 3 verdicts are the same."


@pytest.mark.parametrize(
    ("other", "on"),
    [
        ({}, "event_id"),
        ({"event_id": "x{n}"}, "shard and position"),
        ({"event_id": "x{n}", "shard": "/elsewhere"}, "message"),
    ],
)
def test_lines_meet_on_the_surest_key_that_both_have(other: dict[str, str], on: str) -> None:
    messages = ["same", "same", "one"]
    a = [{"p": BENIGN, "message": message} for message in messages]
    b = [row | {name: value.format(n=n) for name, value in other.items()} for n, row in enumerate(a)]
    pairs = paired(a, b)
    assert (pairs.lines.height, pairs.only_a, pairs.only_b) == (3, 0, 0)
    assert pairs.on == on


def test_a_line_that_one_run_settled_counts_as_benign_there() -> None:
    pairs = paired([{"p": REVIEW}] * 3, [{"p": REVIEW}], settled=(0, 2))
    told = agreement(pairs, limit=5)
    assert (told["lines"], told["only_a"], told["settled_in_b"]) == (3, 2, 2)
    assert told["dispositions"]["review"]["benign"] == 2
    assert pairs.lines.filter(pl.col("disposition_b") == "benign")["score_b"].to_list() == [0, 0]


def test_lines_that_one_run_did_not_read_are_left_out() -> None:
    pairs = paired([{"p": REVIEW}] * 3, [{"p": REVIEW}], settled=(9, 1))
    assert (pairs.lines.height, pairs.only_a, pairs.as_settled_b) == (1, 2, False)


TRUTH = ["escalate", "review", "benign"] * 8
RIGHT: list[dict[str, Any]] = [{"p": {"escalate": ESCALATE, "review": REVIEW, "benign": BENIGN}[t]} for t in TRUTH]
BLIND: list[dict[str, Any]] = [{"p": BENIGN}] * len(TRUTH)


def test_the_better_run_is_named_whichever_side_it_stands_on(tmp_path: Path) -> None:
    for a, b, better in ((RIGHT, BLIND, "A"), (BLIND, RIGHT, "B")):
        pairs = paired(a, b)
        told = held(tmp_path, pairs, TRUTH)
        sentence = finding(agreement(pairs, limit=1), told)
        assert sentence.startswith(f"{better} is better: of 24 templates"), sentence
    right = told["correct"]["seen"]["lines"]
    assert (right["a"], right["b"], right["only_a"], right["only_b"]) == (8, 24, 0, 16)
    assert right["p"] == pytest.approx(2 / 2**16)
    assert told["correct"]["exact"]["lines"]["only_b"] == 16
    assert told["roc_area"]["lines"]["difference"]["value"] == pytest.approx(-0.5)


def test_copies_are_not_evidence(tmp_path: Path) -> None:
    a = [row | {"template_id": f"t{n % 3}"} for n, row in enumerate(RIGHT)]
    b = [row | {"template_id": f"t{n % 3}"} for n, row in enumerate(BLIND)]
    told = held(tmp_path, paired(a, b), TRUTH)
    assert told["correct"]["seen"]["lines"]["p"] < 0.001
    assert told["correct"]["seen"]["templates"]["p"] == 0.5


def test_equal_runs_cannot_be_told_apart(tmp_path: Path) -> None:
    pairs = paired(RIGHT, RIGHT)
    told = held(tmp_path, pairs, TRUTH)
    assert finding(agreement(pairs, limit=1), told).startswith("The data cannot tell which is better")
    assert told["roc_area"]["templates"]["difference"] == {"value": 0, "low": 0, "high": 0}


def test_without_labels_more_is_not_called_better() -> None:
    told = finding(agreement(paired(RIGHT, BLIND), limit=1), None)
    assert told.startswith("A shows more: 16 templates are shown by A only and 0 by B only")
    assert "which is better only labels can say" in told


def test_one_that_decides_better_and_one_that_ranks_better_are_both_named() -> None:
    against_labels = {
        "correct": {"seen": {"templates": {"n": 40, "only_a": 20, "only_b": 1, "p": 1e-5}}},
        "roc_area": {"templates": {"difference": {"value": -0.1, "low": -0.2, "high": -0.05}}},
    }
    assert finding({}, against_labels).startswith("A decides better and B ranks better")
