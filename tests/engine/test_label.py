"""A line of any length and any answer to it: nothing that was not read in full and understood becomes benign."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import WriteJob, load_run
from tests.fake_engine import FakeEngine, WordTokenizer
from triage import pipeline
from triage.columns import LABELS
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.explain import ANSWER_TOKENS
from triage.engine.generate import Asking, Completion, EngineLost, QuestionRefused
from triage.engine.label import overlapping, probabilities
from triage.errors import WrongInput
from triage.records import Question, Usage

TOKENIZER = WordTokenizer()
PROMPT = prompts.Prompt.render(prompts.load("triage-1"), TOKENIZER)


def ask(text: str, engine: Any = None, **options: int) -> label_pass.Labelled:
    return asyncio.run(label_pass.label(text, PROMPT, engine or small(), **{"max_windows": 32, **options}))


def small(room: int = 40) -> FakeEngine:
    """An engine in whose context `room` tokens of line fit."""
    engine = FakeEngine()
    engine.tokenizer = TOKENIZER
    engine.max_model_len -= PROMPT.room(engine.max_model_len, ANSWER_TOKENS) - room
    return engine


@dataclass
class Scripted:
    """Gives one answer to every label question and one text to every request for an explanation."""

    answer: dict[int, float]
    text: str = ""
    max_model_len: int = 2048
    tokenizer: WordTokenizer = field(default_factory=lambda: TOKENIZER)

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        return Completion(self.text, self.answer if asking.allowed_tokens else {}, True, Usage(1, 0, 1))


@given(st.integers(0, 400), st.integers(1, 60))
def test_windows_overlap_and_cover_every_token(length: int, room: int) -> None:
    tokens = list(range(length))
    windows = overlapping(tokens, room)
    assert len(windows) >= 1
    assert all(len(window) <= room for window in windows)
    assert sorted({token for window in windows for token in window}) == tokens
    for before, after in itertools.pairwise(windows):
        assert len(set(before) & set(after)) == room // 8
        assert after[-1] > before[-1]


ODD = st.sampled_from([math.nan, math.inf, -math.inf, -0.1, 0.0, 0.3, 0.5, 1.0, 1.1, 1e300]) | st.floats()


@given(st.dictionaries(st.sampled_from([*PROMPT.labels.values(), 0]), ODD), st.text())
@settings(max_examples=100, deadline=None)
def test_an_answer_is_a_distribution_over_the_labels_or_no_answer(answer: dict[int, float], text: str) -> None:
    p = probabilities(Completion(text, answer, True, Usage()), PROMPT)
    labelled = ask("x", Scripted(answer, text))
    assert labelled.probabilities == p
    given_ = [answer.get(PROMPT.labels[name], math.nan) for name in LABELS]
    if all(0 <= value <= 1 for value in given_) and abs(math.fsum(given_) - 1) < 0.009:
        assert p is not None
    if p is None:
        assert labelled.reason == "the answer is not one of the labels"
    else:
        assert math.isclose(math.fsum(p.values()), 1)
        assert all(0 <= value <= 1 for value in given_)


@pytest.mark.usefixtures("models")
def test_whatever_the_engine_says_no_answer_is_benign_by_default(write_job: WriteJob) -> None:
    run = load_run(write_job(["x"]))

    @given(st.dictionaries(st.sampled_from(list(PROMPT.labels.values())), ODD), st.text())
    @settings(max_examples=100, deadline=None)
    def check(answer: dict[int, float], text: str) -> None:
        judgement = asyncio.run(pipeline.judge(run, [Question("t", "x")], PROMPT, Scripted(answer, text)))
        (said,) = judgement.answers
        benign = answer.get(PROMPT.labels["benign"], math.nan)
        assert said.probabilities is not None or said.reason
        if said.probabilities and pipeline.validate.disposition(said.probabilities, run.thresholds) == "benign":
            assert benign > 0.49
        elif said.probabilities:
            assert said.explanation is not None

    check()


def test_the_worst_window_wins_so_that_padding_hides_nothing() -> None:
    calm = "all is well " * 40
    labelled = ask(f"{calm} an attack here {calm}")
    assert labelled.asked > 2
    assert labelled.probabilities is not None
    assert labelled.probabilities["escalate"] == pytest.approx(0.8)
    assert "attack" in TOKENIZER.decode(labelled.window)


@pytest.mark.parametrize("text", ["word " * 400, "x" * 10_000_000])
def test_a_text_that_is_too_long_is_undecided_with_the_reason_and_not_asked(text: str) -> None:
    engine = small()
    labelled = ask(text, engine, max_windows=3)
    assert (labelled.probabilities, labelled.asked, engine.prompts) == (None, 0, [])
    assert labelled.reason == "too long: more than 3 windows of 40 tokens"


def test_one_refused_or_unreadable_window_leaves_the_whole_text_undecided() -> None:
    for word in ("refuse-me", "garbage-label"):
        labelled = ask("all is well " * 20 + word)
        assert labelled.probabilities is None
        assert labelled.reason
        assert word not in labelled.reason


def test_an_engine_that_is_lost_says_nothing_of_the_row() -> None:
    with pytest.raises(EngineLost):
        ask("kill-engine")


def test_a_context_with_no_room_for_a_line_is_wrong_input() -> None:
    for room in (31, 0, -5):
        with pytest.raises(WrongInput, match="max_model_len"):
            ask("x", small(room))


@pytest.mark.usefixtures("models")
def test_an_explanation_that_is_refused_does_not_take_the_verdict_back(write_job: WriteJob, tmp_path: Path) -> None:
    class Mute(FakeEngine):
        async def generate(self, prompt: list[int], asking: Asking) -> Completion:
            if not asking.allowed_tokens:
                raise QuestionRefused("ValueError")
            return await super().generate(prompt, asking)

    engine = Mute()
    prompt = prompts.Prompt.render(prompts.load("triage-1"), engine.tokenizer)
    judgement = asyncio.run(
        pipeline.judge(load_run(write_job(["x"])), [Question("t", "an attack here")], prompt, engine)
    )
    assert judgement.answers[0].probabilities is not None
    assert judgement.answers[0].explanation is not None
    assert judgement.answers[0].explanation.problem


@pytest.mark.usefixtures("models")
def test_the_worst_of_a_questions_framings_counts_and_all_are_paid_for(write_job: WriteJob) -> None:
    """What a line says to its reader may raise its verdict and never lowers it."""
    engine = FakeEngine()
    prompt = prompts.Prompt.render(prompts.load("triage-1"), engine.tokenizer)
    run = load_run(write_job(["x"]))

    def said(text: str, *framings: str) -> tuple[float | None, int]:
        judgement = asyncio.run(pipeline.judge(run, [Question("t", text, framings)], prompt, engine))
        (answer,) = judgement.answers
        return (answer.probabilities["escalate"] if answer.probabilities else None), answer.asked

    assert said("session opened") == (0.03, 1)
    assert said("session opened", "an attack here", "failed once") == (0.8, 3)
    assert said("an attack here", "session opened") == (0.8, 2)
    assert said("an attack here", "refuse-me") == (None, 2)


def test_a_models_leaning_is_its_answer_to_texts_that_say_nothing() -> None:
    engine = FakeEngine()
    prompt = prompts.Prompt.render(prompts.load("triage-1"), engine.tokenizer)
    leaning, usage = asyncio.run(label_pass.leaning(prompt, engine))
    assert leaning == pytest.approx({"benign": 0.9, "review": 0.07, "escalate": 0.03})
    assert usage.output_tokens == len(label_pass.CONTENT_FREE)
