"""The story in plain calls: what goes in comes out once, named by what it depends on and by nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import WriteJob, load_run, write_tiny_model
from tests.fake_engine import FakeEngine
from triage import pipeline
from triage.columns import VERDICTS
from triage.custody import registry
from triage.engine import prompt as prompts
from triage.errors import WrongInput
from triage.forecast import forecast
from triage.records import OUTCOMES, Receipt
from triage.run import Run
from triage.verdicts.commit import prepare_output, receipts

pytestmark = pytest.mark.usefixtures("models")
RULES = '[[rule]]\nid = "noise"\nsettle = "benign"\nbecause = "noise"\nwhen.message = { starts_with = "noise" }\n'
SIGMA = """
title: open vault
id: 00000000-0000-4000-8000-000000000000
level: high
logsource: {product: linux, service: sshd}
detection: {words: [vault is open], condition: words}
"""


def run_through(run: Run) -> list[Receipt]:
    """The whole of a run, one slice after the other."""
    prepare_output(run.output)
    engine = FakeEngine()
    prompt = prompts.Prompt.render(run.prompt, engine.tokenizer)
    return [
        pipeline.settle(run, load, asyncio.run(pipeline.judge(run, load.questions, prompt, engine)))
        for reading in pipeline.plan(run).readings
        for load in pipeline.prepare(run, reading, receipts(run.output))
    ]


LINE = st.sampled_from(["attack 1", "failed 2", "noise", "refuse-me", "garbage-label", "garbage-json attack", "ok 3"])


@given(lines=st.lists(LINE | st.text(max_size=20), min_size=1, max_size=40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_that_goes_in_comes_out_once_whatever_it_holds(
    write_job: WriteJob, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "noise.toml").write_text(RULES)
    path = write_job(lines, f'[prefilter]\nrules = ["{folder}/noise.toml"]\n[run]\nslice_bytes = 1024\n')
    path.write_text(path.read_text().replace('"out"', f'"{folder}/out"'))
    done = run_through(load_run(path))
    assert sum(r.rows["rows_in"] for r in done) == len(lines)
    assert sum(r.rows[name] for r in done for name in OUTCOMES) == len(lines)
    verdicts = pl.read_parquet(folder / "out" / "verdicts" / "*.parquet").sort("position")
    shown = [line for line in lines if not line.startswith("noise")]
    assert verdicts["message"].to_list() == shown
    assert verdicts["event_id"].n_unique() == len(shown)
    for row in verdicts.iter_rows(named=True):
        assert (row["disposition"] == "benign") <= (row["p_benign"] is not None)
    assert run_through(load_run(path)) == []


def test_a_slice_is_named_by_all_that_its_verdicts_depend_on(write_job: WriteJob, tmp_path: Path) -> None:
    lines = ["ok"]
    plain = load_run(write_job(lines))
    assert load_run(write_job(lines, "[model]\nreplicas = 2\n[run]\nslices_in_flight = 9\n")).digest == plain.digest
    assert load_run(write_job(lines)).digest == plain.digest
    (tmp_path / "noise.toml").write_text(RULES)
    registry.add("other", write_tiny_model(tmp_path / "other", fill=1), origin="tests", licence="none")
    registry.approve("other", "tests", "tests")
    (tmp_path / "s.yml").write_text(SIGMA)
    changes = {
        "sigma rules": '[prefilter]\nsigma = ["s.yml"]\n',
        "judge": "[judge]\nreview_at = 0.4\n",
        "rules": '[prefilter]\nrules = ["noise.toml"]\n',
        "model": '[model]\nname = "other"\n',
        "context": "[model]\nmax_model_len = 4096\n",
        "masks": '[condense]\nlevel = "exact"\n',
        "slices": "[run]\nslice_bytes = 2048\n",
    }
    for name, extra in changes.items():
        changed = load_run(write_job(lines, extra)).configuration()
        assert {key for key, value in changed.items() if value != plain.configuration()[key]} == {name}
    assert load_run(write_job(lines), limit_rows=1).digest != plain.digest


def test_a_hit_of_a_sigma_rule_is_settled_without_a_question(write_job: WriteJob, tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(SIGMA)
    lines = ["Nov 10 10:00:00 web1 sshd[12]: the vault is open", "the vault is open"]
    run = load_run(write_job(lines, '[prefilter]\nsigma = ["s.yml"]\n'))
    counts, _ = forecast(run, pipeline.plan(run))
    assert [(count["ruled"], count["questions"]) for count in counts.values()] == [(1, 1)]


def test_a_rule_tests_a_column_of_the_shard_that_no_verdict_holds(write_job: WriteJob, tmp_path: Path) -> None:
    when = "when.source.status = { at_least = 500 }"
    (tmp_path / "r.toml").write_text(f'[[rule]]\nid = "r"\nsettle = "review"\nbecause = "failing"\n{when}\n')
    path = write_job(["ok 1"], '[prefilter]\nrules = ["r.toml"]\n')
    (tmp_path / "shards" / "day.jsonl").write_text('{"message": "ok 1", "status": 503}\n{"message": "ok 2"}\n')
    run = load_run(path)
    (receipt,) = run_through(run)
    assert (receipt.rows["rows_ruled"], receipt.rows["rows_judged"]) == (1, 1)
    verdicts = pl.read_parquet(run.output / "verdicts" / "*.parquet").sort("position")
    assert verdicts["disposition"].to_list() == ["review", "benign"]
    assert verdicts.columns == list(VERDICTS)


def test_a_forecast_is_what_is_then_read_and_asked(write_job: WriteJob, tmp_path: Path) -> None:
    (tmp_path / "noise.toml").write_text(RULES)
    run = load_run(write_job(["noise", "ok 1", "ok 2", "failed"], '[prefilter]\nrules = ["noise.toml"]\n'))
    counts, unreadable = forecast(run, pipeline.plan(run))
    told = {"rows": 4, "quarantined": 0, "settled": 1, "ruled": 0, "corrected": 0, "known": 0, "questions": 2}
    assert list(counts.values()) == [told]
    assert unreadable == []
    assert not run.output.exists()


@pytest.mark.parametrize(
    ("extra", "options", "says"),
    [
        ('[model]\nname = "defautl"\n', {}, "did you mean 'default'"),
        ('[judge]\nprompt = "none"\n', {}, "no prompt 'none'"),
        ('[prefilter]\nrules = ["none.toml"]\n', {}, "no such file"),
        ("", {"limit_rows": 0}, "--limit-rows 0"),
    ],
)
def test_what_a_job_names_must_be_there(write_job: WriteJob, extra: str, options: dict[str, int], says: str) -> None:
    with pytest.raises(WrongInput, match=says):
        load_run(write_job(["x"], extra), **options)


def test_a_model_nobody_approved_is_not_used(write_job: WriteJob) -> None:
    registry.revoke("default")
    with pytest.raises(WrongInput, match="not approved"):
        load_run(write_job(["x"]))
