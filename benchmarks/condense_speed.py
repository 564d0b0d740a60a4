"""How fast events are condensed, beside Drain3, and how fast and in how much memory a job feeds its engine.

    PYTHONPATH=/tmp/drain3 .venv/bin/python benchmarks/condense_speed.py [--rounds 5] [--mb 50] [--only a|b|c]

Lines are the twelve shared systems' 24,000, as they are (hardly two alike, the hard case), and `--copies` of them with
fresh clock times and fresh digits in every number of five digits and more (a day of a real source repeats itself more).
(a) Lines/s of `condense` at `standard` and of Drain3 0.9.11 as it comes (how to get it: questions_per_1000_lines.py),
    one miner for all lines, in turns within one process; the first round warms up and is not counted.
(b) Rows/s and MB/s of the whole job but for the engine, from `--mb` of Parquet and of JSONL: read, normalise, rules,
    condense, fan out, write; every question gets a made answer.
(c) Peak memory (ru_maxrss) of a process of its own that does (b) at `--memory-mb` and at ten times that.
Medians, and each value. POLARS_MAX_THREADS=1 gives the figures of one core.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage import job, pipeline
from triage.columns import Label
from triage.condense.template import condense
from triage.records import Answer, Caseload, Judgement
from triage.run import Run, load_run
from triage.verdicts import commit

KINDS = ("parquet", "jsonl")


def shared_lines(shared: Path) -> list[str]:
    shards = shared / "shards"
    frames = [pl.read_ndjson(path) for path in sorted((shards / "jsonl").glob("*.jsonl"))]
    frames += [pl.read_parquet(path) for path in sorted((shards / "parquet").glob("*.parquet"))]
    return pl.concat([frame.select("line") for frame in frames])["line"].to_list()


def fresh(lines: list[str], seed: int) -> Iterator[str]:
    """The same lines, over and over, each time with other clock times and other long numbers."""
    draw = random.Random(seed)
    changing = re.compile(r"(\d\d):(\d\d):(\d\d)|\d{5,}")

    def other(found: re.Match[str]) -> str:
        if found[1]:
            return f"{draw.randrange(24):02}:{draw.randrange(60):02}:{draw.randrange(60):02}"
        return found[0][0] + "".join(draw.choices("0123456789", k=len(found[0]) - 1))

    while True:
        for line in lines:
            yield changing.sub(other, line)


# (a)


def drain3() -> Callable[[list[str]], object] | None:
    try:
        miner = importlib.import_module("drain3").TemplateMiner
        config = importlib.import_module("drain3.template_miner_config").TemplateMinerConfig
    except ImportError:
        return None

    def mined(lines: list[str]) -> object:
        drain = miner(config=config())
        for line in lines:
            drain.add_log_message(line)
        return drain

    return mined


def lines_per_second(lines: list[str], rounds: int) -> None:
    events = pl.DataFrame({"message": lines})
    ways: dict[str, Callable[[], object]] = {"condense": lambda: condense(events, "standard")}
    if mined := drain3():
        ways["drain3"] = lambda: mined(lines)
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in sorted(ways, reverse=number % 2 == 1):
            started = time.perf_counter()
            ways[way]()
            speeds[way].append(len(lines) / (time.perf_counter() - started))
    for way, values in speeds.items():
        each = ", ".join(f"{value:,.0f}" for value in values[1:])
        print(f"  {way}: {statistics.median(values[1:]):,.0f} lines/s ({each})")
    if "drain3" in speeds:
        ratios = [a / b for a, b in zip(speeds["condense"][1:], speeds["drain3"][1:], strict=True)]
        each = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"  condense is {statistics.median(ratios):.1f} times Drain3 ({each})")
    else:
        print("  Drain3 cannot be imported here: questions_per_1000_lines.py says how to get it")


# (b)


def write_shard(folder: Path, kind: str, lines: list[str], mb: float) -> Path:
    """A shard with `mb` million bytes of text, written piece by piece."""
    path, written, source = folder / f"day.{kind}", 0.0, fresh(lines, 7)
    pieces = []
    with path.open("wb") as out:
        while written < mb * 1e6:
            piece = [next(source) for _ in range(20_000)]
            written += sum(map(len, piece))
            if kind == "jsonl":
                out.writelines(orjson.dumps({"line": line}) + b"\n" for line in piece)
            else:
                pieces.append(pl.DataFrame({"line": piece}))
    if kind == "parquet":
        pl.concat(pieces).write_parquet(path, row_group_size=20_000)
    return path


def load(folder: Path, shard: Path) -> Run:
    (folder / "job.toml").write_text(
        f'[input]\npaths = ["{shard.name}"]\nfields = {{ message = "line" }}\n[output]\npath = "out"\n'
    )
    run = replace(load_run(job.load(folder / "job.toml")), run_id="benchmark")
    commit.prepare_output(run.output)
    return run


def answered(caseload: Caseload) -> Judgement:
    """Every question is as benign as can be."""
    sure: dict[Label, float] = {"benign": 0.98, "review": 0.015, "escalate": 0.005}
    return Judgement(tuple(Answer(question.template_id, sure) for question in caseload.questions), 0.0)


def fed(run: Run) -> tuple[int, float, float]:
    """(rows, seconds in prepare, seconds in settle) of the whole job but for the engine."""
    rows, prepared, settled = 0, 0.0, 0.0
    for reading in pipeline.plan(run).readings:
        for caseload in pipeline.prepare(run, reading):
            started = time.perf_counter()
            pipeline.settle(run, caseload, answered(caseload))
            settled += time.perf_counter() - started
            prepared += caseload.prepare_seconds
            rows += caseload.rows_in
    return rows, prepared, settled


def feeding(kind: str, lines: list[str], mb: float) -> None:
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        shard = write_shard(Path(name), kind, lines, mb)
        run = load(Path(name), shard)
        started = time.perf_counter()
        rows, prepared, settled = fed(run)
        seconds = time.perf_counter() - started
    print(f"  {kind}: {rows / seconds:,.0f} rows/s, {mb / seconds:.1f} MB/s of text ({rows:,} rows in {seconds:.1f} s)")
    print(f"    prepare {prepared:.1f} s ({rows / prepared:,.0f} rows/s), settle {settled:.1f} s")


# (c)


def peak_mb(kind: str, lines_of: Path, mb: float) -> float:
    """Peak memory of a process of its own. The shard is made by another, so that only feeding counts."""
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        shard = write_shard(Path(name), kind, shared_lines(lines_of), mb)
        done = subprocess.run(
            [sys.executable, __file__, "--feed", str(shard)], check=True, capture_output=True, text=True
        )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--mb", type=float, default=50)
    parser.add_argument("--memory-mb", type=float, default=20)
    parser.add_argument("--only", choices=["a", "b", "c"])
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.feed:
        fed(load(given.feed.parent, given.feed))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    lines = shared_lines(given.shared)
    print(f"{len(lines):,} lines; polars {pl.__version__} with {pl.thread_pool_size()} threads")
    if given.only in (None, "a"):
        print("(a) the lines as they are")
        lines_per_second(lines, given.rounds)
        source = fresh(lines, 7)
        print(f"(a) {given.copies} copies, with fresh clock times and long numbers")
        lines_per_second([next(source) for _ in range(given.copies * len(lines))], max(1, given.rounds // 2))
    if given.only in (None, "b"):
        print(f"(b) feeding, {given.mb:g} MB of text")
        for kind in KINDS:
            feeding(kind, lines, given.mb)
    if given.only in (None, "c"):
        print("(c) peak memory")
        for kind in KINDS:
            one, ten = (peak_mb(kind, given.shared, given.memory_mb * times) for times in (1, 10))
            print(
                f"  {kind}: {one:.0f} MiB at {given.memory_mb:g} MB, {ten:.0f} MiB at ten times: ratio {ten / one:.2f}"
            )


if __name__ == "__main__":
    main()
