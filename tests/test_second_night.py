"""What one run paid for the next one has, what an analyst said stands, and what was not judged is sampled."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import orjson
import polars as pl
import pytest
import ray.cloudpickle

import tests.fake_engine
from tests.conftest import WriteJob, load_run, write_tiny_model
from tests.fake_engine import FakeEngine
from tests.test_cli import triage
from tests.test_pipeline import RULES
from triage import attempt as attempts
from triage import cluster, pipeline
from triage.attempt import attempt
from triage.condense.memory import open_memory
from triage.custody import registry
from triage.engine import prompt as prompts
from triage.engine.meter import Metered
from triage.errors import TriageError
from triage.records import OUTCOMES, Account, Reading, Receipt
from triage.run import Run

ray.cloudpickle.register_pickle_by_value(sys.modules[tests.fake_engine.__name__])
pytestmark = pytest.mark.usefixtures("models")

KINDS = (
    "session {} opened for user bob",
    "failed password for root from 203.0.113.{}",
    "attack number {} seen",
    "noise {}",
)
NO_SAMPLE = "[sample]\nsettled = 0\nshared = 0\n"
MEMORY = '[memory]\npath = "memory"\n'


def day(seed: int) -> list[str]:
    draw = random.Random(seed)
    lines = [kind.format(draw.randrange(1, 250)) for kind in KINDS for _ in range(60)]
    draw.shuffle(lines)
    return [f"2026-11-{seed:02} {draw.randrange(24):02}:00:00 {line}" for line in lines]


def verdicts_of(output: Path) -> pl.DataFrame:
    return pl.read_parquet(output / "verdicts" / "*.parquet").sort("position")


def in_process(run: Run, readings: Collection[Reading], done: Collection[str], show: object) -> cluster.Outcome:
    """What `cluster.run` does, one slice after the other, with the stand-in engine."""
    engine = Metered(FakeEngine())
    prompt = prompts.Prompt.render(run.prompt, engine.tokenizer)
    shared: pipeline.Shared = {}

    async def drive() -> list[Receipt]:
        loads = [load for reading in readings for load in pipeline.prepare(run, reading, done)]
        return [
            pipeline.settle(run, load, await pipeline.judge(run, load.questions, prompt, engine, shared))
            for load in loads
        ]

    try:
        done_now, problem = asyncio.run(drive()), None
    except TriageError as lost:
        done_now, problem = [], lost
    return cluster.Outcome(tuple(done_now), (), engine.read(), {}, {}, problem)


Night = Callable[[Path], Account]


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Night:
    """Run a job without Ray."""
    monkeypatch.setattr(attempts.cluster, "run", in_process)
    return lambda path: attempt(load_run(path), lambda _: None).account


def to(path: Path, output: str) -> Path:
    path.write_text(path.read_text().replace('path = "out"', f'path = "{output}"'))
    return path


def test_a_question_in_flight_is_not_asked_again_by_any_caseload_on_any_engine(
    write_job: WriteJob, tmp_path: Path
) -> None:
    lines = [f"user u{n % 40} failed password" for n in range(400)]
    path = write_job(lines, NO_SAMPLE + "[model]\nreplicas = 2\n[run]\nslice_bytes = 1024\nslices_in_flight = 8\n")
    account = attempt(load_run(path), lambda _: None, load_engine=FakeEngine).account
    assert account.slices > 10
    assert (account.questions, account.attempt_log[0].questions, account.attempt_log[0].explanations) == (40, 40, 40)
    assert (account.rows_judged, account.wasted_questions) == (400, 0)
    assert verdicts_of(tmp_path / "out")["rationale"].null_count() == 0


def test_the_second_night_asks_nothing_and_says_the_same(night: Night, write_job: WriteJob, tmp_path: Path) -> None:
    extra = MEMORY + NO_SAMPLE + "[run]\nslice_bytes = 4096\n"
    first = night(write_job(day(1), extra))
    second = night(to(write_job(day(2), extra), "out2"))
    assert (first.questions > 0, second.questions) == (True, 0)
    assert (second.rows_in, second.rows_from_memory, second.rows_judged) == (240, 240, 0)
    before, after = verdicts_of(tmp_path / "out"), verdicts_of(tmp_path / "out2")
    shown = ["template_id", "disposition", "severity", "category", "p_benign", "p_review", "p_escalate", "evidence"]
    assert before.select(shown).unique().sort(shown[:2]).equals(after.select(shown).unique().sort(shown[:2]))
    assert set(after["decided_by"]) == {"memory"}
    assert set(after["judged_in"]) == set(before["run_id"])


def test_other_weights_find_nothing_in_memory_and_other_thresholds_everything(
    night: Night, write_job: WriteJob, tmp_path: Path
) -> None:
    night(write_job(day(1), MEMORY + NO_SAMPLE))
    cautious = night(to(write_job(day(1), MEMORY + NO_SAMPLE + "[judge]\nreview_at = 0.05\n"), "out2"))
    assert cautious.questions == 0
    assert set(verdicts_of(tmp_path / "out2")["disposition"]) == {"review", "escalate"}
    registry.add("other", write_tiny_model(tmp_path / "other", fill=1), origin="tests", licence="none")
    registry.approve("other", "tests", "tests")
    other = night(to(write_job(day(1), MEMORY + NO_SAMPLE + '[model]\nname = "other"\n'), "out3"))
    assert other.rows_from_memory == 0


def test_a_forged_entry_is_asked_again_and_the_account_says_so(
    night: Night, write_job: WriteJob, tmp_path: Path
) -> None:
    path = write_job(["attack 1"], MEMORY + NO_SAMPLE)
    night(path)
    held = open_memory(tmp_path / "memory", create=False)
    assert held
    (file,) = held.files("answers")
    pl.read_parquet(file).with_columns(p_benign=pl.lit(1.0), p_escalate=pl.lit(0.0)).write_parquet(file)
    account = night(to(path, "out2"))
    assert (account.rows_from_memory, account.memory_refused) == (0, 1)
    assert verdicts_of(tmp_path / "out2")["disposition"].to_list() == ["escalate"]


def test_an_analysts_word_stands_from_the_next_run_on_above_rules_and_model(
    night: Night, write_job: WriteJob, tmp_path: Path
) -> None:
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\nid = "alarm"\nsettle = "escalate"\nbecause = "alarm"\nwhen.message = { contains = "alarm" }\n'
    )
    extra = MEMORY + NO_SAMPLE + '[prefilter]\nrules = ["rules.toml"]\n'
    path = write_job(["alarm 17 rang", "attack 5", "session 4 opened"], extra)
    night(path)
    rows = verdicts_of(tmp_path / "out")
    assert rows["decided_by"].to_list() == ["rule", "model", "model"]
    for event in rows["event_id"][:2]:
        said = triage("correct", tmp_path / "out", event[:12], "benign", "--because", "backup job", "--by", "ann")
        assert said.returncode == 0, said.stderr
    again = triage("plan", path)
    assert "2 correction(s) were made after the run" in again.stderr
    write_job(["alarm 99 rang", "attack 6", "session 4 opened"], extra)
    account = night(to(path, "out2"))
    assert (account.rows_corrected, account.rows_from_memory, account.questions) == (2, 1, 0)
    rows = verdicts_of(tmp_path / "out2")
    assert rows["decided_by"].to_list() == ["analyst", "analyst", "memory"]
    assert rows["disposition"].to_list() == ["benign"] * 3
    assert (rows["rule_ids"][0].to_list(), rows["rationale"][0]) == (["alarm"], "backup job")
    told = triage("explain", tmp_path / "out2", rows["event_id"][0]).stdout
    assert "by ann" in told
    listed = orjson.loads(triage("memory", "show", tmp_path / "memory", "--corrections", "--json").stdout)
    assert [(c["by"], c["because"], c["in_force"]) for c in listed["corrections"]] == [("ann", "backup job", True)] * 2
    assert (
        triage("memory", "forget", tmp_path / "memory", "--correction", listed["corrections"][0]["id"]).returncode == 0
    )
    assert orjson.loads(triage("memory", "show", tmp_path / "memory", "--json").stdout)["in_force"] == 1


def test_a_stopped_run_keeps_the_corrections_it_began_with(night: Night, write_job: WriteJob, tmp_path: Path) -> None:
    path = write_job(["attack 5", "kill-engine"], MEMORY)
    assert night(path).state == "stopped"
    other = write_job(["attack 5"], MEMORY)
    night(to(other, "out2"))
    event = verdicts_of(tmp_path / "out2")["event_id"][0]
    assert triage("correct", tmp_path / "out2", event, "benign", "--because", "known").returncode == 0
    before = write_job(["attack 5", "kill-engine"], MEMORY)
    assert load_run(before).corrections == ()
    assert load_run(before).corrections_later == 1
    assert len(load_run(to(before, "out3")).corrections) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["memory", "show", "none"], "no memory there"),
        (["memory", "forget", "memory"], "not clear"),
        (["memory", "forget", "memory", "--all", "--run", "x"], "not clear"),
        (["correct", "out", "none", "benign", "--because", "x"], "no verdict with the event id"),
        (["correct", "out", "none", "fine", "--because", "x"], "'fine' is not one of"),
    ],
)
def test_what_is_asked_of_memory_wrongly_is_said_in_one_line(
    night: Night, write_job: WriteJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    night(write_job(["noise"], MEMORY))
    monkeypatch.chdir(tmp_path)
    done = triage(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


def test_memory_is_pruned_and_forgotten(night: Night, write_job: WriteJob, tmp_path: Path) -> None:
    night(write_job(day(1), MEMORY + NO_SAMPLE))
    answers = orjson.loads(triage("memory", "show", tmp_path / "memory", "--json").stdout)["answers"]
    assert answers > 3
    dropped = triage("memory", "forget", tmp_path / "memory", "--model", "0000", "--json")
    assert orjson.loads(dropped.stdout) == {"dropped": 0}
    dropped = triage("memory", "prune", tmp_path / "memory", "--max-age-days", 0, "--json")
    assert orjson.loads(dropped.stdout) == {"dropped": answers}


def sampled(night: Night, write_job: WriteJob, tmp_path: Path, sample: str) -> Account:
    (tmp_path / "noise.toml").write_text(RULES.replace("starts_with", "contains"))
    path = write_job(day(1) + ["noise attack 1"] * 10, f'[prefilter]\nrules = ["noise.toml"]\n[sample]\n{sample}')
    return night(path)


def test_what_rules_dropped_is_sampled_and_what_the_judge_raises_is_shown(
    night: Night, write_job: WriteJob, tmp_path: Path
) -> None:
    account = sampled(night, write_job, tmp_path, "settled = 1\nshared = 1\nmost_per_slice = 500\n")
    told = account.samples["settled"]
    assert (told.rows, told.judged, told.found, told.rate) == (70, 70, 10, pytest.approx(1 / 7))
    assert told.low < 1 / 7 < told.high
    assert (account.rows_settled, sum(getattr(account, name) for name in OUTCOMES)) == (60, account.rows_in)
    raised = verdicts_of(tmp_path / "out").filter(sampled="settled")
    assert raised["disposition"].to_list() == ["escalate"] * 10
    assert set(raised["reason"]) == {"drawn from what the rule noise settled as benign"}
    shared = account.samples["shared"]
    assert (shared.rows, shared.judged, shared.found, shared.mean_shift_p_benign) == (180, 180, 0, 0)
    assert account.questions == account.sample_questions + 3


def test_a_sample_costs_no_more_than_its_cap_and_none_where_it_is_off(
    night: Night, write_job: WriteJob, tmp_path: Path
) -> None:
    account = sampled(night, write_job, tmp_path, "settled = 1\nshared = 1\nmost_per_slice = 5\n")
    assert account.slices == 1
    assert [account.samples[kind].judged for kind in ("settled", "shared")] == [5, 5]
    assert account.sample_questions <= 10
    off = to(tmp_path / "job.toml", "out2")
    off.write_text(off.read_text().replace("= 1\n", "= 0\n"))
    account = night(off)
    assert (account.sample_questions, account.samples["settled"].judged) == (0, 0)
