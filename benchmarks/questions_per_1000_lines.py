"""How often the model is asked, beside other ways to group lines, and what sharing an answer changes.

    .venv/bin/python benchmarks/questions_per_1000_lines.py [--shared ../shared/data] [--sample 500] [--no-engine]

Part one: questions for each 1,000 lines of the twelve shared systems (2,000 lines each), counted within a system: exact
duplicates; crude masking (digits and hex by one regular expression); Drain3 0.9.11 as it comes, without masking; the
hand-made templates; and `triage` at `standard`. Drain3 is no part of the environment; it is counted where it is found:

    pip install --target /tmp/drain3 drain3==0.9.11 --no-deps && pip install --target /tmp/drain3 jsonpickle cachetools
    PYTHONPATH=/tmp/drain3 .venv/bin/python benchmarks/questions_per_1000_lines.py

Part two loads the engine. From all lines whose template is not their own text, `--sample` are drawn (`--seed`). Each is
judged by its template's text, as a job does, and by its own; and so is another line of the same template with other
words, for scale. Dispositions by the job's default thresholds; explanations, which depend on the label, are not asked.
Printed: how many dispositions change, with a 95% Wilson interval, how many of the most probable labels, and the change
of p_benign. The aim is that sharing changes fewer than 3% of dispositions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage import job
from triage.columns import LABELS, Label
from triage.condense.template import condense
from triage.custody.verify import proved
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.generate import Engine
from triage.engine.vllm import Settings, VllmEngine
from triage.run import Run, load_run
from triage.verdicts import validate
from triage.verdicts.measured import clopper_pearson

CRUDE = "0[xX][0-9a-fA-F]+|[0-9a-fA-F]{8,}|[0-9]+"
Probabilities = Mapping[Label, float]
LoadEngine = Callable[[Path, Settings], Engine]


def systems(shared: Path) -> dict[str, pl.Series]:
    """system -> its lines, in order."""
    shards = shared / "shards"
    frames = {path.stem: pl.read_ndjson(path) for path in sorted((shards / "jsonl").glob("*.jsonl"))}
    frames |= {path.stem: pl.read_parquet(path) for path in sorted((shards / "parquet").glob("*.parquet"))}
    return {name: frames[name]["line"].rename("message") for name in sorted(frames)}


def by_drain3(lines: pl.Series) -> int | None:
    """How many clusters Drain3 makes of the lines; None where it is not there."""
    try:
        miner = importlib.import_module("drain3").TemplateMiner
        config = importlib.import_module("drain3.template_miner_config").TemplateMinerConfig()
    except ImportError:
        return None
    drain = miner(config=config)
    for line in lines:
        drain.add_log_message(line)
    return len(drain.drain.clusters)


def counted(shared: Path) -> pl.DataFrame:
    """`rows`: one a system, with the number of questions each way asks."""
    rows = []
    for system, lines in systems(shared).items():
        made = pl.read_parquet(shared / "shards" / "templates" / f"{system}.parquet")["template_id"]
        rows.append(
            {
                "system": system,
                "lines": lines.len(),
                "exact": lines.n_unique(),
                "crude": lines.str.replace_all(CRUDE, "#").n_unique(),
                "drain3": by_drain3(lines),
                "hand-made": made.n_unique(),
                "standard": condense(lines.to_frame(), "standard")[1].height,
            }
        )
    return pl.DataFrame(rows)


def show(rows: pl.DataFrame) -> None:
    ways = rows.columns[2:]
    print("questions per 1,000 lines".ljust(28) + "".join(way.rjust(11) for way in ways))
    total = rows.select(pl.lit("all").alias("system"), pl.exclude("system").sum())
    for row in [*rows.iter_rows(named=True), *total.iter_rows(named=True)]:
        rates = [f"{row[way] * 1000 / row['lines']:.1f}" if row[way] else "-" for way in ways]
        print(f"{row['system']} ({row['lines']:,})".ljust(28) + "".join(rate.rjust(11) for rate in rates))
    if rows["drain3"].is_null().all():
        print("Drain3 cannot be imported here: the docstring of this file says how to get it")


def sampled(shared: Path, size: int, seed: int) -> pl.DataFrame:
    """`events` whose template is not their own text: `message`, `template`, and `other`, the message of another event
    of the same template, or null."""
    parts = []
    for lines in systems(shared).values():
        events, templates = condense(lines.to_frame(), "standard")
        parts.append(events.join(templates, on="template_id").filter(pl.col("message") != pl.col("template")))
    events = pl.concat(parts).select("message", "template")
    drawn = events.sample(size, seed=seed, shuffle=True).with_row_index()
    pairs = drawn.join(events.rename({"message": "other"}), on="template").filter(pl.col("other") != pl.col("message"))
    one = pairs.group_by("index").agg(pl.col("other").sort().gather(pl.col("index").first() % pl.len()).first())
    return drawn.join(one, on="index", how="left").sort("index")


async def labels(texts: Collection[str], run: Run, engine: Engine) -> dict[str, Probabilities]:
    """text -> the label's probabilities, of each text that got an answer; as `pipeline.judge` asks for them."""
    prompt = prompts.Prompt.render(run.prompt, engine.tokenizer)
    asked = sorted(set(texts))
    answers = await asyncio.gather(
        *(label_pass.label(text, prompt, engine, max_windows=run.job.judge.max_windows) for text in asked)
    )
    return {
        t: answer.probabilities for t, answer in zip(asked, answers, strict=True) if answer.probabilities is not None
    }


def compare(name: str, pairs: list[tuple[Probabilities, Probabilities]], thresholds: validate.Thresholds) -> None:
    if not pairs:
        print(f"{name}: no pairs")
        return
    moved = sum(validate.disposition(a, thresholds) != validate.disposition(b, thresholds) for a, b in pairs)
    argmax = sum(max(LABELS, key=a.__getitem__) != max(LABELS, key=b.__getitem__) for a, b in pairs)
    changes = [abs(a["benign"] - b["benign"]) for a, b in pairs]
    low, high = clopper_pearson(moved, len(pairs), 0.95)
    print(f"{name}: {len(pairs)} pairs")
    print(f"  dispositions that change {moved} ({moved / len(pairs):.2%}, 95% interval {low:.2%} to {high:.2%})")
    print(f"  most probable label changes {argmax} ({argmax / len(pairs):.2%})")
    print(f"  change of p_benign: mean {statistics.fmean(changes):.4f}, largest {max(changes):.4f}")


async def judged(events: pl.DataFrame, run: Run, load_engine: LoadEngine, folder: Path) -> None:
    with proved(run.model, folder) as weights:
        engine = load_engine(weights, Settings(run.job.model.max_model_len, 1, run.job.model.prefix_caching))
    with contextlib.closing(engine):
        texts = [text for column in ("message", "template", "other") for text in events[column].drop_nulls()]
        answers = await labels(texts, run, engine)

    def pairs(one: str, other: str) -> list[tuple[Probabilities, Probabilities]]:
        both = events.select(one, other).drop_nulls().iter_rows()
        return [(answers[a], answers[b]) for a, b in both if a in answers and b in answers]

    print(f"{len(set(texts))} questions, {len(set(texts)) - len(answers)} without an answer")
    compare("an event by its template against by its own text", pairs("template", "message"), run.thresholds)
    compare("two events of the same template, each by its own text", pairs("message", "other"), run.thresholds)
    # A judge that finds all benign at the thresholds given passes them whatever sharing does.
    urgent = sorted(1 - answers[text]["benign"] for text in events["message"] if text in answers)
    fifth = validate.Thresholds(review_at=urgent[len(urgent) * 4 // 5], escalate_at=1.0)
    print(f"with review_at {fifth.review_at:.4f}, where a fifth of these events is reviewed:")
    compare("an event by its template against by its own text", pairs("template", "message"), fifth)
    compare("two events of the same template, each by its own text", pairs("message", "other"), fifth)


def main(load_engine: Any = VllmEngine) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-engine", action="store_true")
    given = parser.parse_args()
    show(counted(given.shared))
    if given.no_engine:
        return
    events = sampled(given.shared, given.sample, given.seed)
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        folder = Path(name)
        (folder / "job.toml").write_text(
            '[input]\npaths = ["no.jsonl"]\nfields = { message = "line" }\n[output]\npath = "out"\n'
        )
        (folder / "weights").mkdir(mode=0o700)
        run = load_run(job.load(folder / "job.toml"))
        print(f"\nmodel {run.model.name} {run.model.digest[:12]}, {events.height} events drawn with seed {given.seed}")
        asyncio.run(judged(events, run, load_engine, folder / "weights"))


if __name__ == "__main__":
    main()
