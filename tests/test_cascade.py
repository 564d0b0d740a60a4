"""A cascade: the larger model answers what the smaller one is unsure of, its word stands, and that is counted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
import ray.cloudpickle

import tests.fake_engine
from tests.conftest import WriteJob, load_run, write_tiny_model
from tests.fake_engine import FakeEngine
from triage import judge as judging
from triage import pipeline
from triage.attempt import attempt
from triage.columns import LABELS
from triage.condense.template import template_id
from triage.custody import registry
from triage.engine import prompt as prompts
from triage.engine.generate import Asking, Completion
from triage.records import Question

ray.cloudpickle.register_pickle_by_value(sys.modules[tests.fake_engine.__name__])
pytestmark = pytest.mark.usefixtures("models")

LINES = ["session opened", "failed password", "attack seen", "failed refuse-me", "attack garbage-json"]
CASCADE = '[cascade]\nmodel = "large"\nbelow = 0.6\nsample = 0\n[sample]\nshared = 0\n'


@pytest.fixture
def large(tmp_path: Path) -> registry.Entry:
    registry.add("large", write_tiny_model(tmp_path / "large", fill=1), origin="tests", licence="none")
    return registry.approve("large", "tests", "tests")


class Larger(FakeEngine):
    """Escalates all it is asked."""

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        told = await super().generate(prompt, asking)
        if not asking.allowed_tokens:
            return told
        sure: Mapping[int, float] = dict(zip(asking.allowed_tokens, (0.0, 0.1, 0.9), strict=True))
        return Completion("", sure, True, told.usage)


def answers(job: Path, lines: list[str]) -> dict[str, judging.Answer]:
    """What a run of two stages answers, by line."""
    run, small, larger = load_run(job), FakeEngine(), Larger()
    prompt = prompts.Prompt.render(run.prompt, small.tokenizer)
    second = (prompts.Prompt.render(run.stages[1].prompt, larger.tokenizer), larger)
    questions = [Question(template_id(line, "exact"), line) for line in lines]
    judgement = asyncio.run(pipeline.judge(run, questions, prompt, small, None, second))
    return dict(zip(lines, judgement.answers, strict=True))


def test_only_what_the_first_model_is_unsure_of_goes_on(write_job: WriteJob, large: registry.Entry) -> None:
    told = answers(write_job([], CASCADE), LINES[:3])
    assert [told[line].stage for line in LINES[:3]] == [0, 1, 0]  # margins 0.83, 0.5 and 0.65
    unsure = told["failed password"]
    assert (unsure.first_said, unsure.asked, unsure.sampled) == ("review", 2, False)
    assert unsure.probabilities == dict(zip(LABELS, (0.0, 0.1, 0.9), strict=True))


def test_a_sample_of_the_sure_ones_goes_on_too(write_job: WriteJob, large: registry.Entry) -> None:
    told = answers(write_job([], CASCADE.replace("sample = 0\n", "sample = 1\n")), LINES[:3])
    assert [(told[line].stage, told[line].sampled) for line in LINES[:3]] == [(1, True), (1, False), (1, True)]
    drawn = [judging.cascade_sample(template_id(f"line {n}", "exact"), 0.2) for n in range(2000)]
    assert 0.15 < sum(drawn) / 2000 < 0.25


def test_what_neither_can_answer_is_undecided(write_job: WriteJob, large: registry.Entry) -> None:
    told = answers(write_job([], CASCADE), ["failed refuse-me"])
    assert told["failed refuse-me"].probabilities is None


def test_a_run_says_which_model_said_what_and_how_often_they_agreed(
    write_job: WriteJob, tmp_path: Path, large: registry.Entry
) -> None:
    job = write_job(LINES, CASCADE + '[memory]\npath = "memory"\n')
    ended = attempt(load_run(job), lambda _: None, load_engine=FakeEngine)
    assert ended.problem is None
    account = ended.account
    counted = {name: account.cascade[name] for name in ("asked_second", "agreed", "sampled", "sampled_agreed")}
    assert counted == {"asked_second": 1, "agreed": 1, "sampled": 0, "sampled_agreed": 0}
    assert account.cascade["model"]["digest"] == large.digest
    assert account.engine["second"]["engine"] == "fake"
    verdicts = pl.read_parquet(tmp_path / "out" / "verdicts" / "*.parquet")
    by = dict(verdicts.select("message", "model_digest").iter_rows())
    small = registry.get("default").digest
    assert (by["failed password"], by["session opened"]) == (large.digest, small)
    # From memory, too, each with the weights that said it.
    job.write_text(job.read_text().replace('path = "out"', 'path = "out2"'))
    again = attempt(load_run(job), lambda _: None, load_engine=FakeEngine).account
    assert again.rows_from_memory == 4
    recalled = pl.read_parquet(tmp_path / "out2" / "verdicts" / "*.parquet").filter(decided_by="memory")
    assert {row["message"]: row["model_digest"] for row in recalled.iter_rows(named=True)}.items() <= by.items()


def test_a_cascade_is_part_of_what_a_run_is(write_job: WriteJob, large: registry.Entry) -> None:
    plain, two = load_run(write_job(LINES)), load_run(write_job(LINES, CASCADE))
    assert plain.digest != two.digest
    assert plain.scope.digest != two.scope.digest
    nearer = load_run(write_job(LINES, CASCADE.replace("0.6", "0.5")))
    assert nearer.scope.digest != two.scope.digest
    with pytest.raises(Exception, match="no model 'larger'"):
        load_run(write_job(LINES, CASCADE.replace('"large"', '"larger"')))
