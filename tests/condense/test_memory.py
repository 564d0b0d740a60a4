"""What was paid for is found again by all that it depends on, says nothing of any log, and cannot be forged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triage.condense.memory import ANSWERS, Memory, Recalled, Scope, open_memory
from triage.errors import WrongInput
from triage.records import Answer, Explanation, Usage

SCOPE = Scope("scope", (("weights", "prompt"),))
TEXT = "canary-41f0 user bob opened /srv/canary from <ip:public>"
BENIGN = {"benign": 0.7, "review": 0.2, "escalate": 0.1}
TOLD = Explanation("high", "web", "canary rationale", ("user bob", "/srv/canary"), "canary step")
ANSWER = Answer("t1", BENIGN, None, TOLD, Usage(5, 0, 1), 1)  # type: ignore[arg-type]
LONG_AGO, LATER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIAGE_KEY", str(tmp_path / "memory.key"))
    return tmp_path / "memory.key"


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return made(tmp_path / "memory")


def made(path: Path) -> Memory:
    held = open_memory(path, create=True)
    assert held
    return held


def recall(memory: Memory, texts: dict[str, str], scope: Scope = SCOPE, **options: datetime | str) -> Recalled:
    plain = {"after": LONG_AGO, "before": LATER, "run_id": "next", "since": LATER}
    return memory.recall(scope, texts, **(plain | options))  # type: ignore[arg-type]


P = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(P, st.text(min_size=1, max_size=40), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_remembered_is_recalled_as_it_was_but_for_what_the_model_wrote(
    tmp_path_factory: pytest.TempPathFactory, p: list[float], text: str, data: st.DataObject
) -> None:
    memory = made(tmp_path_factory.mktemp("memory"))
    start = data.draw(st.integers(0, len(text) - 1))
    words = text[start : data.draw(st.integers(start + 1, len(text)))].strip()
    told = Explanation("low", "data", "reason", (words, "\x00 not in it"), "step")
    asked = Answer("t", dict(zip(BENIGN, p, strict=True)), None, told)  # type: ignore[arg-type]
    memory.remember(SCOPE, "run-slice", "run", [asked], {"t": text})
    (found,) = recall(memory, {"t": text}).answers
    assert found.probabilities == asked.probabilities
    assert found.explanation == Explanation("low", "data", None, (words,) if words else (), None)
    assert (found.judged_in, found.asked, found.usage) == ("run", 0, Usage())


def test_an_answer_belongs_to_its_template_and_scope_alone(memory: Memory) -> None:
    memory.remember(SCOPE, "a", "run", [ANSWER], {"t1": TEXT})
    assert recall(memory, {"t1": TEXT, "t2": "other"}).answers[0].template_id == "t1"
    assert recall(memory, {"t2": TEXT}).answers == ()
    assert recall(memory, {"t1": TEXT}, Scope("other scope", (("weights", "prompt"),))).answers == ()


def test_what_nobody_paid_for_or_decided_is_not_remembered(memory: Memory) -> None:
    undecided = Answer("t1", None, "refused")
    memory.remember(
        SCOPE, "a", "r", [undecided, replace(ANSWER, asked=0), replace(ANSWER, judged_in="x")], {"t1": TEXT}
    )
    assert memory.files("answers") == []


def test_no_word_of_a_log_or_of_the_model_is_in_the_files(memory: Memory) -> None:
    memory.remember(SCOPE, "a", "run", [ANSWER], {"t1": TEXT})
    rows, _ = memory.read_answers()
    assert rows.height == 1
    said = str(rows.to_dicts())
    assert not [word for word in ("canary", "bob", "t1", "opened") if word in said]
    assert all(b"canary" not in file.read_bytes() for file in memory.path.rglob("*") if file.is_file())
    assert memory.path.stat().st_mode & 0o777 == 0o700


FORGED: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    **{name: lambda _: pl.lit(0.5) for name in ("p_benign", "p_review", "p_escalate")},
    **{name: lambda _: pl.lit("forged") for name in ("model_digest", "prompt_digest", "severity", "category")},
    "judged_in": lambda _: pl.lit("next"),
    "judged_at": lambda column: column + timedelta(microseconds=1),
    "evidence": lambda _: pl.lit([0, 3]),
    "mac": lambda _: pl.lit(b"0" * 32),
}


@pytest.mark.parametrize("column", FORGED)
def test_a_row_that_was_changed_is_ignored_and_counted(memory: Memory, column: str) -> None:
    memory.remember(SCOPE, "a", "run", [ANSWER], {"t1": TEXT})
    (file,) = memory.files("answers")
    rows = pl.read_parquet(file).with_columns(FORGED[column](pl.col(column)).alias(column))
    rows.cast(ANSWERS).write_parquet(file)
    assert recall(memory, {"t1": TEXT}) == Recalled((), 1)
    memory.remember(SCOPE, "b", "run", [ANSWER], {"t1": TEXT})
    recalled = recall(memory, {"t1": TEXT})
    assert (len(recalled.answers), recalled.refused) == (1, 1)
    assert memory.rewrite(memory.sound) == 1
    assert recall(memory, {"t1": TEXT}).refused == 0


def test_an_answer_moved_to_another_question_is_refused(memory: Memory) -> None:
    memory.remember(SCOPE, "a", "run", [ANSWER, replace(ANSWER, template_id="t2")], {"t1": TEXT, "t2": TEXT})
    (file,) = memory.files("answers")
    rows = pl.read_parquet(file)
    rows.with_columns(pl.col("fingerprint").reverse()).write_parquet(file)
    assert recall(memory, {"t1": TEXT, "t2": TEXT}) == Recalled((), 2)


def test_a_file_that_is_no_parquet_is_counted_and_the_rest_is_used(memory: Memory) -> None:
    memory.remember(SCOPE, "a", "run", [ANSWER], {"t1": TEXT})
    (memory.path / "answers" / "b.parquet").write_bytes(b"PAR1 torn")
    pl.DataFrame({"x": [1]}).write_parquet(memory.path / "answers" / "c.parquet")
    recalled = recall(memory, {"t1": TEXT})
    assert (len(recalled.answers), recalled.refused) == (1, 2)


def test_the_first_answer_stands_and_only_those_of_the_time_asked_for(memory: Memory) -> None:
    memory.remember(SCOPE, "a", "first", [ANSWER], {"t1": TEXT})
    between = datetime.now(UTC)
    memory.remember(SCOPE, "b", "second", [ANSWER], {"t1": TEXT})
    texts = {"t1": TEXT}
    assert recall(memory, texts).answers[0].judged_in == "first"
    assert recall(memory, texts, after=between).answers[0].judged_in == "second"
    assert recall(memory, texts, before=between).answers[0].judged_in == "first"
    assert recall(memory, texts, after=between, before=between).answers == ()


def test_what_an_earlier_attempt_asked_is_the_runs_own(memory: Memory) -> None:
    began = datetime.now(UTC)
    memory.remember(SCOPE, "a", "run", [ANSWER], {"t1": TEXT})
    own = recall(memory, {"t1": TEXT}, run_id="run", since=began).answers
    same_job_before = recall(memory, {"t1": TEXT}, run_id="run", since=datetime.now(UTC)).answers
    assert (own[0].judged_in, same_job_before[0].judged_in) == (None, "run")


def test_merging_loses_nothing_but_what_is_too_old(memory: Memory) -> None:
    for name in ("run-1", "run-2", "other-1"):
        memory.remember(SCOPE, name, name[:-2], [replace(ANSWER, template_id=name)], {name: TEXT})
    memory.merge("run", LONG_AGO)
    assert len(memory.files("answers")) == 2
    assert len(recall(memory, dict.fromkeys(("run-1", "run-2", "other-1"), TEXT)).answers) == 3
    memory.merge("run", LATER)
    assert memory.files("answers") == []


def test_many_runs_at_once_lose_nothing_and_read_whole_files(tmp_path: Path) -> None:
    def work(number: int) -> int:
        memory = made(tmp_path / "memory")
        names = [f"r{number}-{i}" for i in range(8)]
        for name in names:
            memory.remember(SCOPE, name, f"r{number}", [replace(ANSWER, template_id=name)], {name: TEXT})
            memory.merge(f"r{number}", LONG_AGO)
            memory.rewrite(memory.sound)
        recalled = recall(memory, dict.fromkeys(names, TEXT))
        return len(recalled.answers) - 100 * recalled.refused

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [8] * 6


def test_a_memory_of_another_key_is_refused(memory: Memory, key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(b"x" * 32)
    with pytest.raises(WrongInput, match="another key"):
        open_memory(memory.path, create=False)
    key.write_bytes(b"short")
    with pytest.raises(WrongInput, match="not a memory's key"):
        open_memory(memory.path, create=True)
    key.unlink()
    with pytest.raises(WrongInput, match="TRIAGE_KEY"):
        open_memory(memory.path, create=False)


def test_looking_makes_nothing(tmp_path: Path, key: Path) -> None:
    assert open_memory(tmp_path / "none", create=False) is None
    assert not key.exists()
    assert not (tmp_path / "none").exists()
