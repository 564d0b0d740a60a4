"""How much of a Sigma repository compiles, whether rules hit the events kept for them, and what 1,900 rules cost.

    .venv/bin/python benchmarks/sigma_coverage.py [--shared ../shared/data] [--events 100000] [--rounds 3]

Events for the speed: `--mix` of them (by default a half) are the repository's regression events, drawn with
replacement from a fixed seed, each with fresh process and record numbers so that hardly two messages are alike; the
rest are lines of the shards' Windows log, as text. They are written as one JSONL shard and read in slices as a job
reads them. Sifting is timed with and without the Sigma rules, reading by itself. Medians of the rounds, and each value.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage.columns import EVENTS
from triage.job import Input
from triage.prefilter import rules as rule_files
from triage.prefilter.sift import sift
from triage.prefilter.sigma import Ruleset
from triage.prefilter.sigma_compile import load
from triage.shards.plan import plan
from triage.shards.read import read

SLICE_BYTES, RECORD_BYTES = 8 << 20, 64 << 20


def compiled(sigma: Path) -> Ruleset:
    started = time.monotonic()
    rules = load([str(sigma / name) for name in ("rules", "rules-emerging-threats", "rules-threat-hunting")])
    done, refused = len(rules.rules), len(rules.refused)
    print(
        f"compiled {done} of {done + refused} rules ({done / (done + refused):.1%}), {time.monotonic() - started:.1f} s"
    )
    for reason, count in Counter(reason for _, reason in rules.refused).most_common():
        print(f"  refused {count}: {reason}")
    return rules


def matched(rules: Ruleset, kept: list[dict[str, Any]]) -> None:
    """Every event that is kept for a rule, and whether the rule hits it."""
    events = pl.DataFrame([{"position": i, "message": one["event"]} for i, one in enumerate(kept)], schema=EVENTS)
    pairs = {(row, rules.rules[number].id) for row, number in rules.hits(events).iter_rows()}
    missed = [one for row, one in enumerate(kept) if (row, one["rule_id"]) not in pairs]
    hit_rules = {one["rule_id"] for row, one in enumerate(kept) if (row, one["rule_id"]) in pairs}
    print(f"regression: {len(kept) - len(missed)} of {len(kept)} events hit by their rule")
    print(f"  rules that hit one of their events or more: {len(hit_rules)} of {len({one['rule_id'] for one in kept})}")
    for one in missed:
        print(f"  missed {one['rule_id']} {one['rule_path']}")


def write_shard(folder: Path, kept: list[str], lines: list[str], count: int, mix: float) -> Path:
    draw = random.Random(20261122)
    numbers = re.compile(r'("(?:EventRecordID|ProcessId|ProcessID|ThreadID|ParentProcessId)":)\d+')
    path = folder / "day.jsonl"
    with path.open("wb") as out:
        for _ in range(count):
            if draw.random() < mix:
                text = numbers.sub(lambda found: found[1] + str(draw.randrange(1, 1 << 30)), draw.choice(kept))
            else:
                text = draw.choice(lines)
            out.write(orjson.dumps({"line": text}) + b"\n")
    return path


def timed(path: Path, rules: Ruleset) -> dict[str, float]:
    """Seconds of reading, and of sifting without and with the Sigma rules, over all slices."""
    own = rule_files.load([])
    seconds: defaultdict[str, float] = defaultdict(float)
    table = Input(paths=[str(path)], fields={"message": "line"})
    for reading in plan([table], slice_bytes=SLICE_BYTES, max_record_bytes=RECORD_BYTES, limit_rows=None).readings:
        pieces = read(reading, slice_bytes=SLICE_BYTES, max_record_bytes=RECORD_BYTES)
        while True:
            started = time.monotonic()
            rows = next(pieces, None)
            seconds["reading"] += time.monotonic() - started
            if rows is None:
                break
            for name, sigma in (("built-in rules", None), ("all rules", rules)):
                started = time.monotonic()
                sift(rows.events, own, sigma)
                seconds[name] += time.monotonic() - started
            started = time.monotonic()
            hits = rules.hits(rows.events)
            seconds["sigma alone"] += time.monotonic() - started
            seconds["hits"] += hits.height
    return dict(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--mix", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rules = compiled(given.shared / "sigma")
    kept = [orjson.loads(line) for line in (given.shared / "sigma" / "regression-dev.jsonl").read_bytes().splitlines()]
    matched(rules, kept)
    lines = pl.read_parquet(given.shared / "shards" / "parquet" / "windows.parquet")["line"].to_list()
    with tempfile.TemporaryDirectory() as folder:
        path = write_shard(Path(folder), [one["event"] for one in kept], lines, given.events, given.mix)
        print(f"{given.events} events, {path.stat().st_size / 1e6:.0f} MB, {given.mix:.0%} of them Sigma's own")
        rounds = [timed(path, rules) for _ in range(given.rounds)]
    for name in ("reading", "built-in rules", "sigma alone", "all rules"):
        values = [one[name] for one in rounds]
        middle = statistics.median(values)
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"{name}: {given.events / middle:,.0f} events/s (median of {each} s)")
    share = statistics.median(one["all rules"] / (one["all rules"] + one["reading"]) for one in rounds)
    print(f"sifting with all rules is {share:.0%} of reading and sifting; {rounds[0]['hits']:.0f} hits")


if __name__ == "__main__":
    main()
