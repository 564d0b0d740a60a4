"""What is fitted is what was there to be found; a budget is kept and a recall reached; and `triage calibrate` records
it where the next run finds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import WriteJob, load_run
from tests.test_second_night import MEMORY, NO_SAMPLE, Night, night
from triage.cli import cli
from triage.columns import LABELS
from triage.custody import registry
from triage.errors import WrongInput
from triage.evaluate import calibrate


def made_up(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(true probabilities, truth drawn from them)."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet((1.5, 1.0, 0.7), rows)
    return p, np.array([draw.choice(3, p=one) for one in p])


def test_a_distortion_is_found_and_undone_on_groups_that_it_was_not_fitted_on() -> None:
    p, truth = made_up(3000)
    leaning = calibrate.applied(p, 0.4, (1.0, -0.5, -0.5))
    found = calibrate.fit(leaning, truth, [f"system {i % 20}" for i in range(3000)])
    assert found.temperature == pytest.approx(1 / 0.4, rel=0.1)
    assert found.across_groups
    assert found.ece_before > 0.1
    assert found.ece_after < 0.03
    assert found.loss_after < found.loss_before
    undone = calibrate.applied(leaning, found.temperature, found.offsets)
    assert np.abs(undone - p).mean() < 0.02


def test_a_handful_of_lines_changes_little() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]])
    found = calibrate.fit(p, np.array([0, 1, 2]), ["a"] * 3)
    assert not found.across_groups
    assert 0.3 < found.temperature < 1.5


@given(st.tuples(*[st.floats(0.001, 1)] * 3))
def test_what_says_nothing_comes_to_mean_nothing(weights: tuple[float, ...]) -> None:
    p = np.array([weights]) / sum(weights)
    temperature, offsets = calibrate.contextual(dict(zip(LABELS, p[0], strict=True)))
    assert calibrate.applied(p, temperature, offsets) == pytest.approx(np.full((1, 3), 1 / 3))


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


@given(SCORES, st.floats(0, 1))
def test_no_more_than_the_budget_is_shown_and_no_less_than_it_allows(score: np.ndarray, share: float) -> None:
    at = calibrate.at_budget(score, share)
    assert (score >= at).sum() <= share * len(score) + 1e-6 or at == 1.0
    below = score[score < at]
    if len(below):  # the next lower score would be one too many, or as many again
        assert (score >= below.max()).sum() > share * len(score) - 1e-6


@given(SCORES, st.floats(0, 1), st.randoms())
def test_the_recall_that_is_asked_for_is_reached(score: np.ndarray, target: float, draw: object) -> None:
    positive = np.array([draw.random() < 0.5 for _ in score])  # type: ignore[attr-defined]
    positive[0] = True
    at = calibrate.at_recall(score, positive, target)
    assert (score[positive] >= at).mean() >= target - 1e-9


__all__ = ["night"]  # a fixture

LINES = [
    *(f"session {n} opened for user {name}" for n, name in enumerate("abcdefgh")),
    *(f"failed password for {name}" for name in "abcdefgh"),
    *(f"attack by {name}" for name in "abcdefgh"),
]


def labelled(folder: Path) -> Path:
    """Truth for LINES: the stand-in engine is right but for two in eight of each kind."""
    path = folder / "labels.jsonl"
    truth = [
        *["benign"] * 6,
        "review",
        "review",
        *["review"] * 6,
        "benign",
        "benign",
        *["escalate"] * 6,
        "review",
        "review",
    ]
    rows = [
        {"message": line, "triage": label, "system": f"s{at % 4}"}
        for at, (line, label) in enumerate(zip(LINES, truth, strict=True))
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def run(*words: object) -> dict[str, object]:
    done = CliRunner().invoke(cli, ["calibrate", *map(str, words), "--json"], catch_exceptions=False)
    return dict(orjson.loads(done.stdout))


@pytest.mark.usefixtures("models")
def test_the_next_run_has_it_asks_nothing_again_and_says_so(write_job: WriteJob, tmp_path: Path, night: Night) -> None:
    job = write_job(LINES, MEMORY + NO_SAMPLE)
    first = night(job)
    assert first.calibration is None
    tried = run(tmp_path / "out", labelled(tmp_path), "--dry-run")
    assert (tried["recorded"], registry.get("default").calibrations) == (False, {})
    told = run(tmp_path / "out", labelled(tmp_path), "--recall", "80%")
    assert told["recorded"]
    job.write_text(job.read_text().replace('path = "out"', 'path = "out2"'))
    second = night(job)
    assert second.questions == 0
    assert second.calibration is not None
    assert second.calibration["digest"] == told["digest"]
    assert second.thresholds["review_at"] == told["review_at"]
    before, after = (
        pl.read_parquet(tmp_path / out / "verdicts" / "*.parquet").sort("position") for out in ("out", "out2")
    )
    assert set(after["calibration_digest"]) == {told["digest"]}
    assert before["calibration_digest"].null_count() == before.height
    # Three quarters of these were right, and the engine was surer than that.
    opened = after.filter(pl.col("message").str.contains("opened"))["p_benign"]
    assert abs(opened[0] - 0.75) < abs(before.filter(pl.col("message").str.contains("opened"))["p_benign"][0] - 0.75)
    assert set(after["disposition"]) == set(LABELS)
    # Fitted again on what is calibrated already, the same comes out: the model's own probabilities are what counts.
    again = run(tmp_path / "out2", labelled(tmp_path), "--dry-run")
    assert again["temperature"] == pytest.approx(told["temperature"], rel=1e-3)


@pytest.mark.usefixtures("models")
def test_a_job_may_do_without_it_and_its_own_thresholds_stand(
    write_job: WriteJob, tmp_path: Path, night: Night
) -> None:
    night(write_job(LINES, MEMORY + NO_SAMPLE))
    run(tmp_path / "out", labelled(tmp_path), "--review-budget", "2%")
    plain = load_run(write_job(LINES, MEMORY + NO_SAMPLE + "[judge]\ncalibrated = false\n"))
    assert (plain.calibration, plain.thresholds.review_at) == (None, 0.5)
    own = load_run(write_job(LINES, MEMORY + NO_SAMPLE + "[judge]\nreview_at = 0.25\n"))
    assert own.calibration is not None
    assert own.thresholds.review_at == 0.25
    fitted = load_run(write_job(LINES, MEMORY + NO_SAMPLE))
    assert fitted.thresholds.review_at == own.calibration.review_at


@pytest.mark.usefixtures("models")
def test_what_cannot_be_fitted_is_said(write_job: WriteJob, tmp_path: Path, night: Night) -> None:
    night(write_job(LINES, NO_SAMPLE))
    out = tmp_path / "out"
    with pytest.raises(WrongInput, match="leaning is not known"):
        run(out)
    with pytest.raises(WrongInput, match="what to aim at"):
        run(out, "--recall", "0.9")
    (tmp_path / "few.jsonl").write_text('{"message": "attack by a", "triage": "escalate"}\n')
    with pytest.raises(WrongInput, match="too few labelled lines"):
        run(out, tmp_path / "few.jsonl")
    assert "expected 2% or 0.02" in CliRunner().invoke(cli, ["calibrate", str(out), "--review-budget", "often"]).output
