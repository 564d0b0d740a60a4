"""`triage eval` and `triage compare`, from a run to what they print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from tests.conftest import WriteJob, load_run
from tests.evaluate.build import write_labels
from tests.test_cli import refused, triage
from tests.test_pipeline import RULES
from tests.test_second_night import NO_SAMPLE, in_process, to
from triage import attempt as attempts

pytestmark = pytest.mark.usefixtures("models")

KINDS = {
    "attack number {} seen": "escalate",
    "failed password for user u{}": "review",
    "session {} opened": "benign",
    "quiet word {} said": "review",  # what the judge does not see
    "noise {}": "benign",
}
WORDS = ("alpha", "beta", "gamma", "delta", "omega")
LINES = {kind.format(word): said for kind, said in KINDS.items() for word in WORDS}


@pytest.fixture
def output(write_job: WriteJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run over LINES whose noise a rule settles."""
    monkeypatch.setattr(attempts.cluster, "run", in_process)
    (tmp_path / "noise.toml").write_text(RULES)
    path = write_job(list(LINES), NO_SAMPLE + '[prefilter]\nrules = ["noise.toml"]\n')
    assert attempts.attempt(load_run(path), lambda _: None).account.rows_settled == len(WORDS)
    return tmp_path / "out"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [{"message": m, "triage": said, "system": f"s{n % 3}"} for n, (m, said) in enumerate(LINES.items())]
    return write_labels(tmp_path / "labels.jsonl", [*rows, {"message": "nobody knows", "triage": None}])


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def evaluated(*arguments: object) -> dict[str, Any]:
    done = triage("eval", *arguments, "--json", "--resamples", 100)
    assert done.returncode == 0, done.stderr + done.stdout
    document: dict[str, Any] = orjson.loads(done.stdout)
    assert all(map(math.isfinite, numbers(document)))
    assert "NaN" not in done.stdout
    return document


def test_eval_says_what_a_hand_would_count(output: Path, labels: Path) -> None:
    document = evaluated(output, labels)
    assert (document["labelled"], document["no_truth"], document["joined_on"]) == (26, 1, "message")
    assert (document["not_found"], document["not_found_as_settled"], document["rows_settled"]) == (5, 5, 5)
    lines = document["overall"]["lines"]
    assert (lines["n"], lines["shown"], lines["model_spoke"]) == (25, 10, 20)
    assert lines["truth"] == {"benign": 10, "review": 10, "escalate": 5}
    assert lines["confusion"]["review"] == {"benign": 5, "review": 5, "escalate": 0, "undecided": 0}
    assert (lines["precision"]["value"], lines["recall"]["value"]) == (1, pytest.approx(2 / 3))
    # Of 15 real and 10 benign lines, 10 are above all benign ones; 5 tie with 5 of them and are above the settled 5.
    assert lines["roc_area"]["value"] == pytest.approx((10 * 10 + 5 * (5 + 5 / 2)) / 150)
    assert lines["recall_at_20"]["value"] == pytest.approx(5 / 15)
    assert lines["escalate_roc_area"]["value"] == pytest.approx(1.0)
    assert set(document["groups"]) == {"system"}
    assert sum(group["lines"]["n"] for group in document["groups"]["system"].values()) == 25
    assert document["baselines"]["tfidf"]["folds"] == 3
    assert document["baselines"]["level"]["lines"]["recall"]["value"] == pytest.approx(2 / 3)


def test_the_same_seed_says_the_same_and_groups_and_baselines_are_asked_for(output: Path, labels: Path) -> None:
    first, again = (evaluated(output, labels, "--seed", 3, "--by", "decided_by", "--no-baselines") for _ in range(2))
    assert first == again
    assert set(first["groups"]["decided_by"]) == {"model", "rule"}
    assert first["baselines"] == {}


def test_labels_by_event_id_in_parquet_with_alerts_alone(output: Path, tmp_path: Path) -> None:
    said = pl.read_parquet(output / "verdicts" / "*.parquet")
    truth = said.select("event_id", alert=pl.col("message").str.contains("attack|quiet"))
    truth.write_parquet(tmp_path / "alerts.parquet")
    document = evaluated(output, tmp_path / "alerts.parquet")
    assert (document["joined_on"], document["classes"]) == ("event_id", ["no alert", "alert"])
    assert set(document["overall"]["lines"]["confusion"]) == {"no alert", "alert"}
    assert document["overall"]["lines"]["escalate_roc_area"] == {"value": None, "low": None, "high": None}
    assert set(document["groups"]) == {"shard"}
    assert "fewer than two groups" in document["baselines"]["tfidf"]["reason"]


def test_eval_on_a_terminal_and_as_a_page(output: Path, labels: Path, tmp_path: Path) -> None:
    done = triage("eval", output, labels, "--html", tmp_path / "page.html", "--resamples", 50)
    assert done.returncode == 0, done.stderr
    for words in ("26 labelled lines", "count as benign and not shown", "ROC area", "TF-IDF", "quiet word"):
        assert words in " ".join(done.stdout.split())
    page = (tmp_path / "page.html").read_text()
    assert "quiet word" in page
    assert page.count("<svg") == 3
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    bare = triage("eval", output, labels, "--no-lines", "--html", tmp_path / "page.html", "--resamples", 0)
    assert "quiet word" not in bare.stdout + (tmp_path / "page.html").read_text()


def test_compare_counts_what_changed_and_names_the_better_one(
    output: Path, labels: Path, write_job: WriteJob, tmp_path: Path
) -> None:
    cautious = to(write_job(None, NO_SAMPLE + "[judge]\nreview_at = 0.05\n"), "out2")
    attempts.attempt(load_run(cautious), lambda _: None)
    done = triage("compare", output, tmp_path / "out2", "--json")
    assert done.returncode == 0, done.stdout
    document = orjson.loads(done.stdout)
    assert (document["joined_on"], document["lines"], document["only_b"], document["settled_in_a"]) == (
        "event_id",
        25,
        5,
        5,
    )
    assert document["dispositions"]["benign"]["review"] == 15
    assert (document["changed_lines"], document["same"], document["mean_abs_change_p_benign"]) == (15, 10, 0)
    assert document["finding"].startswith("B shows more")
    assert document["a"]["cost"]["questions"] == 20
    held = orjson.loads(triage("compare", output, tmp_path / "out2", labels, "--json").stdout)["against_labels"]
    assert held["correct"]["seen"]["lines"] == {
        "n": 25, "a": 20, "b": 15, "only_a": 10, "only_b": 5, "p": pytest.approx(0.3017578125)
    }  # fmt: skip
    shown = triage("compare", output, tmp_path / "out2", labels, "--html", tmp_path / "c.html", "--no-lines")
    assert shown.returncode == 0, shown.stderr
    for words in (
        "A ranks better, and the data cannot tell which decides better",
        "McNemar",
        "prompt tokens",
        "ROC area, lines",
    ):
        assert words in " ".join(shown.stdout.split())
    assert "quiet word" not in shown.stdout + (tmp_path / "c.html").read_text()


def test_what_is_asked_wrongly_is_said_in_one_line(output: Path, labels: Path, tmp_path: Path) -> None:
    refused(triage("eval", output, tmp_path / "none.jsonl"), 2, "none.jsonl", "no such file", "expected labels")
    refused(triage("eval", tmp_path, labels), 2, "no run.json there")
    refused(
        triage("eval", output, labels, "--by", "sistem", "--no-baselines"),
        2,
        "no column 'sistem'",
        "did you mean 'system'?",
    )
    refused(triage("eval", output, labels, "--truth", "said"), 2, "no column 'said'")
    refused(
        triage("eval", output, labels, "--no-baselines", "--html", tmp_path / "no" / "p.html"), 2, "cannot be written"
    )
    other = write_labels(tmp_path / "other.jsonl", [{"event_id": "e", "triage": "benign"}])
    assert triage("compare", output, output, other).returncode == 0  # rules settled rows, so it may be one of them
    refused(triage("compare", output, tmp_path), 2, "no run.json there")


def test_a_real_labels_file_is_understood(shared: Path, write_job: WriteJob, tmp_path: Path) -> None:
    """Every line with an agreed truth is scored, and no group is lost."""
    from triage.evaluate.labels import read_labels

    labels = read_labels(shared / "labelled" / "adjudicated-dev.jsonl")
    assert (labels.labelled, labels.no_truth, labels.key) == (499, 24, ("message",))
    assert labels.groupings == ("system", "source")
    assert labels.lines["truth"].value_counts().sort("truth")["count"].to_list() == [234, 219, 22]
