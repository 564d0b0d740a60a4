"""Truth meets verdicts by the surest key, and every labelled line is in the figures or in a count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.evaluate.build import SHARD, verdicts, write_labels
from triage.errors import WrongInput
from triage.evaluate.join import Joined, join
from triage.evaluate.labels import read_labels
from triage.evaluate.scores import scored

SURE = (0.9, 0.08, 0.02)


def joined(
    tmp_path: Path,
    labels: Iterable[Mapping[str, Any]],
    said: pl.DataFrame,
    rows_settled: int = 0,
    shards: tuple[str, ...] = (SHARD,),
) -> Joined:
    read = read_labels(write_labels(tmp_path / "l.jsonl", labels))
    return join(read, said.lazy(), rows_settled=rows_settled, shards=shards, template_ids=lambda m: "of " + m)


@pytest.mark.parametrize(
    ("key", "on"),
    [
        ({"event_id": "e1", "message": "another"}, "event_id"),
        ({"shard": SHARD, "position": 1}, "shard and position"),
        ({"shard": "day.jsonl", "position": 1}, "shard and position"),
        ({"shard": "./logs/day.jsonl", "position": 1}, "shard and position"),
        ({"message": "line 1"}, "message"),
    ],
)
def test_a_label_finds_its_verdict(tmp_path: Path, key: dict[str, Any], on: str) -> None:
    found = joined(tmp_path, [key | {"triage": "review"}], verdicts([{"p": SURE}] * 3))
    assert found.on == on
    assert found.lines.select("event_id", "truth").rows() == [("e1", 1)]
    assert (found.not_found, found.settled, found.conflicting) == (0, 0, 0)


def test_every_verdict_of_a_message_has_its_truth_however_often_it_was_labelled(tmp_path: Path) -> None:
    label = {"message": "same", "triage": "review"}
    found = joined(tmp_path, [label, label], verdicts([{"p": SURE, "message": "same"}] * 3))
    assert found.lines["truth"].to_list() == [1, 1, 1]


def test_labels_that_contradict_one_another_are_left_out_and_counted(tmp_path: Path) -> None:
    labels = [
        {"message": "line 0", "triage": "review"},
        {"message": "line 0", "triage": "benign"},
        {"message": "line 1", "triage": "benign"},
    ]
    found = joined(tmp_path, labels, verdicts([{"p": SURE}] * 2))
    assert (found.lines["event_id"].to_list(), found.conflicting, found.not_found) == (["e1"], 2, 0)


LABELS = [
    {"message": "line 0", "triage": "benign", "system": "x"},
    {"message": "settled", "triage": "escalate", "system": None},
]


def test_a_line_that_rules_settled_counts_as_benign_and_not_shown(tmp_path: Path) -> None:
    found = joined(tmp_path, LABELS, verdicts([{"p": SURE}]), rows_settled=5)
    assert (found.not_found, found.settled) == (1, 1)
    row = found.lines.row(1, named=True)
    told = {"disposition": "benign", "shown": False, "score": 0.0, "p_seen": None, "truth": 2, "decided_by": "rule"}
    assert {name: row[name] for name in told} == told
    assert (row["template_id"], row["by.system"], row["event_id"]) == ("of settled", "(none)", None)


def test_a_line_that_is_not_found_is_left_out_where_rules_settled_nothing(tmp_path: Path) -> None:
    found = joined(tmp_path, LABELS, verdicts([{"p": SURE}]))
    assert (found.lines.height, found.not_found, found.settled) == (1, 1, 0)


def test_a_line_of_a_shard_that_was_not_read_was_not_settled(tmp_path: Path) -> None:
    labels = [
        {"shard": name, "position": n, "triage": "benign"} for name in ("day.jsonl", "night.jsonl") for n in (0, 7)
    ]
    found = joined(tmp_path, labels, verdicts([{"p": SURE}]), rows_settled=9)
    assert (found.lines.height, found.not_found, found.settled) == (2, 3, 1)
    assert found.lines["template_id"].to_list() == ["t0", "labelled line 2"]


def test_a_shard_with_two_meanings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"may be /a/day\.jsonl or /b/day\.jsonl"):
        labels = [{"shard": "day.jsonl", "position": 0, "triage": "benign"}]
        joined(tmp_path, labels, verdicts([{"p": SURE}]), shards=("/a/day.jsonl", "/b/day.jsonl"))


def test_labels_of_other_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="none of the labelled lines is in the verdicts"):
        joined(tmp_path, [{"message": "elsewhere", "triage": "benign"}], verdicts([{"p": SURE}]))


@pytest.mark.parametrize(
    ("row", "score"),
    [
        ({"p": (0.6, 0.3, 0.1)}, 0.4),
        ({"p": (0.6, 0.3, 0.1), "decided_by": "memory"}, 0.4),
        ({"p": (0.6, 0.3, 0.1), "decided_by": "rule", "disposition": "review"}, 0.9),
        ({"p": (0.05, 0.9, 0.05), "decided_by": "rule", "disposition": "review"}, 0.95),
        ({"p": (0.6, 0.3, 0.1), "decided_by": "rule", "disposition": "escalate"}, 1.0),
        ({"decided_by": "rule", "disposition": "review"}, 0.9),
        ({"decided_by": "rule", "disposition": "escalate"}, 1.0),
        ({"decided_by": "analyst", "disposition": "benign"}, 0.0),
        ({"decided_by": "analyst", "disposition": "review"}, 0.9),
        ({"disposition": "undecided"}, 0.5),
    ],
)
def test_a_score_is_what_model_rule_or_analyst_said(row: dict[str, Any], score: float) -> None:
    told = scored(verdicts([row]).lazy()).collect().row(0, named=True)
    assert told["score"] == pytest.approx(score)
    assert told["shown"] == (told["disposition"] != "benign")
    assert (told["p_seen"] is None) == ("p" not in row)


def test_a_model_that_is_sure_of_benign_says_nothing_of_which_of_the_others() -> None:
    told = scored(verdicts([{"p": (1.0, 0.0, 0.0)}, {"p": (0.2, 0.6, 0.2)}]).lazy()).collect()
    assert told["p_worse"].to_list() == pytest.approx([0.5, 0.25])
