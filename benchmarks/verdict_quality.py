"""How good the verdicts are on lines that two careful readers labelled, against baselines on the same lines.

    python benchmarks/verdict_quality.py [LABELS] [--model default] [--output DIR]

LABELS (JSONL; by default ../shared/data/labelled/adjudicated-dev.jsonl) has `message`, `triage` and, if it knows them,
`sure` (2: both readers were), `source` and `system`. The lines go through `triage run` as a user's would, on the real
engine. Printed: the ROC area of "an analyst should see it" per source and overall, on all agreed lines and on the sure
ones, for the verdicts, the model alone, and the baselines (frightening words counted; TF-IDF of character n-grams with
logistic regression, trained on other systems of these labels, and on the project's own training set); escalate against
review; the calibration error as shipped, and after a calibration on other systems than those scored. Intervals: 1,000
resamples of templates. Nothing is fitted on what it is scored on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.generate import training_set
from triage import job
from triage.attempt import attempt
from triage.calibration import calibration_from
from triage.columns import LABELS
from triage.evaluate import baselines
from triage.evaluate.bootstrap import intervals
from triage.evaluate.calibrate import error, fit
from triage.evaluate.metrics import Floats, ranked, roc_area
from triage.evaluate.scores import scored
from triage.records import Account
from triage.run import load_run

LABELLED = Path(__file__).resolve().parents[2] / "shared" / "data" / "labelled" / "adjudicated-dev.jsonl"
RESAMPLES = 1000


def judged(lines: pl.DataFrame, folder: Path, model: str) -> tuple[pl.DataFrame, Account]:
    """(`lines` with what the run said of each, its account)."""
    shard = folder / "lines.jsonl"
    shard.write_bytes(b"".join(orjson.dumps({"message": message}) + b"\n" for message in lines["message"].unique()))
    (folder / "job.toml").write_text(
        f'[input]\npaths = ["{shard}"]\nfields = {{ message = "message" }}\n[model]\nname = "{model}"\n'
        f'[judge]\nexplain = false\n[sample]\nsettled = 0\nshared = 0\n[output]\npath = "{folder}/out"\n'
    )
    ended = attempt(load_run(job.load(folder / "job.toml")), lambda _: None)
    if ended.problem:
        raise SystemExit(str(ended.problem))
    verdicts = scored(pl.scan_parquet(folder / "out" / "verdicts" / "*.parquet")).collect()
    said = verdicts.select("message", "template_id", "disposition", "score", *(f"p_{label}" for label in LABELS))
    return lines.join(said, on="message", how="left", maintain_order="left"), ended.account


def roc(score: np.ndarray, real: np.ndarray, template: np.ndarray | None = None) -> str:
    """The area with its interval, as text; a dash where there is one class only."""
    if not 0 < real.sum() < len(real):
        return "-"
    value = float(roc_area(ranked(score, real, np.ones((1, len(real)))))[0])
    if template is None:
        return f"{value:.3f}"

    def areas(weights: Floats) -> Mapping[str, Floats]:
        return {"area": roc_area(ranked(score, real, weights))}

    found = intervals(template, np.ones(len(real)), areas, resamples=RESAMPLES, seed=0)["area"]
    return f"{value:.3f} ({found[0]:.3f} to {found[1]:.3f})" if found else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path, nargs="?", default=LABELLED)
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path, help="a folder that keeps the run, for `triage eval`")
    given = parser.parse_args()
    rows = [orjson.loads(row) for row in given.labels.read_bytes().splitlines()]
    lines = pl.DataFrame(
        [
            {"message": row["message"], "truth": LABELS.index(row["triage"]), "sure": row.get("sure") == 2}
            | {name: str(row.get(name, "all")) for name in ("source", "system")}
            for row in rows
            if row["triage"] in LABELS
        ]
    )
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        folder = given.output or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        lines, account = judged(lines, folder, given.model)
    truth = lines["truth"].to_numpy()
    real, sure = truth > 0, lines["sure"].to_numpy()
    template = lines["template_id"].rank("dense").to_numpy().astype(np.intp) - 1
    p = lines.select(f"p_{label}" for label in LABELS).fill_null(0.0).to_numpy()
    texts, systems = lines["message"].to_list(), lines["system"].to_list()
    own = training_set(2, 7)
    own_truth = np.array([LABELS.index(label) for label in own["label"]])
    others = baselines.tfidf(texts, truth, systems).probabilities
    assert others is not None
    scores = {
        "verdicts": lines["score"].to_numpy(),
        "the model alone": 1 - p[:, 0],
        "frightening words": baselines.level(texts),
        "TF-IDF, other systems of these": 1 - others[:, 0],
        "TF-IDF, our training set": 1 - baselines.tfidf_trained(own["message"].to_list(), own_truth, texts)[:, 0],
    }
    print(f"model {account.model['name']} {account.model['digest'][:12]}, prompt {account.prompt}, {account.engine}")
    print(
        f"{len(lines)} lines of {lines['system'].n_unique()} systems, {sure.sum()} sure; {account.questions} questions"
    )
    print("\nROC area of `an analyst should see it`")
    sources = sorted(set(lines["source"]))
    print(f"{'':32}{'all agreed':26}{'sure':26}" + "".join(f"{source:>12}" for source in sources))
    for what, score in scores.items():
        by = [lines["source"].to_numpy() == source for source in sources]
        cells = "".join(f"{roc(score[some], real[some]):>12}" for some in by)
        renumbered = np.unique(template[sure], return_inverse=True)[1]
        print(f"{what:32}{roc(score, real, template):26}{roc(score[sure], real[sure], renumbered):26}{cells}")
    alerts = real & (p.sum(axis=1) > 0)
    worse = p[:, 2] / np.maximum(1 - p[:, 0], 1e-12)
    numbers = np.unique(template[alerts], return_inverse=True)[1]
    print(
        f"\nescalate against review, {int((truth[alerts] == 2).sum())} and {int((truth[alerts] == 1).sum())} lines: "
        f"{roc(worse[alerts], truth[alerts] == 2, numbers)}"
    )
    urgent = others[:, 2] / np.maximum(1 - others[:, 0], 1e-12)
    print(f"  TF-IDF, other systems of these: {roc(urgent[alerts], truth[alerts] == 2, numbers)}")
    raw = p
    if account.calibration:
        used = calibration_from(account.calibration)
        raw = np.array([list(used.raw(dict(zip(LABELS, one, strict=True))).values()) for one in p])
    spoken = p.sum(axis=1) > 0
    found = fit(raw[spoken], truth[spoken], [system for system, ok in zip(systems, spoken, strict=True) if ok])
    print(
        f"calibration error (ten bins of equal mass): {found.ece_before:.3f} without a calibration, "
        f"{error(1 - p[spoken, 0], real[spoken]):.3f} with the one that is shipped, {found.ece_after:.3f} calibrated "
        "on other systems than those scored"
    )
    shown = lines["disposition"].to_numpy() != "benign"
    print(
        f"shown {shown.sum()} of {len(lines)}: precision {real[shown].mean():.3f}, recall {shown[real].mean():.3f}; "
        f"dispositions right {np.mean([LABELS[t] == d for t, d in zip(truth, lines['disposition'], strict=True)]):.3f}"
    )


if __name__ == "__main__":
    main()
