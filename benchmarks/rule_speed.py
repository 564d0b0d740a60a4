"""What rules cost: the built-in ones, with one expression each as before and as they are, and 200 made-up ones beside.

    .venv/bin/python benchmarks/rule_speed.py [--shared ../shared/data] [--events 100000] [--rounds 3]

Events: lines of all shards and, for `--mix` of them (by default a half), the events kept for Sigma rules, drawn with
replacement from a fixed seed, each with a number of its own in front. The made-up rules are 50 of each of four kinds:
words in the message; a service and an expression; two columns of the shard, one of them a threshold; and a count within
five minutes by host. `hits`, the one pass of polars that applies all rules, is timed over slices of 8 MiB of messages,
every set of rules in each round. Medians of the rounds, and each value; MB are bytes of messages. Both forms of the
built-in rules must hit the same.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage.columns import EVENTS, SOURCE
from triage.prefilter.rules import Rule, load
from triage.prefilter.sift import hits

SLICE_BYTES = 8 << 20
ROOT = Path(__file__).resolve().parents[1]
NOUNS = ("session", "volume", "lease", "token", "queue", "replica", "socket", "quota", "mount", "cursor")
VERBS = ("expired", "refused", "rotated", "stalled", "leaked")


def events_of(shared: Path, count: int, mix: float) -> pl.DataFrame:
    draw = random.Random(20261124)
    lines = [
        line
        for path in sorted((shared / "shards" / "parquet").glob("*.parquet"))
        for line in pl.read_parquet(path, columns=["line"])["line"].to_list()
    ]
    for path in sorted((shared / "shards" / "jsonl").glob("*.jsonl")):
        lines += [orjson.loads(line)["line"] for line in path.read_bytes().splitlines()]
    kept = [
        orjson.loads(line)["event"] for line in (shared / "sigma" / "regression-dev.jsonl").read_bytes().splitlines()
    ]
    start = datetime(2026, 11, 24, tzinfo=UTC)
    rows = [
        {
            "position": number,
            "timestamp": start + timedelta(seconds=number / 10),
            "host": f"host-{draw.randrange(200)}",
            "service": draw.choice(("sshd", "nginx", "kernel", "cron")),
            "message": f"{number} {draw.choice(kept if draw.random() < mix else lines)}",
            SOURCE + "status": str(draw.choice((200, 200, 200, 404, 500))),
            SOURCE + "user.name": f"user-{draw.randrange(1000)}",
        }
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema={**EVENTS, SOURCE + "status": pl.String(), SOURCE + "user.name": pl.String()})


def made_up() -> list[Rule]:
    tables: list[dict[str, Any]] = []
    for number in range(50):
        noun, verb = NOUNS[number % 10], VERBS[number // 10]
        tables += [
            {"when": {"message": {"contains": f"{noun} {verb}"}}},
            {"when": {"service": "sshd", "message": {"matches": rf"\b{noun}-[0-9]+ was {verb}\b"}}},
            {"when": {"source": {"status": {"at_least": 400}, "user.name": f"user-{number}"}}},
            {
                "when": {"message": {"contains": noun}},
                "window": {"by": ["host"], "more_than": 20 + number, "within": "5m"},
            },
        ]
    return [
        Rule.model_validate({"id": f"made-up-{number}", "because": "a benchmark", "mark": True, **table})
        for number, table in enumerate(tables)
    ]


def slices(events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    size = int(events["message"].str.len_bytes().sum())
    rows = max(1, events.height * SLICE_BYTES // size)
    yield from events.iter_slices(rows)


def timed(parts: Sequence[pl.DataFrame], rules: Sequence[Rule]) -> tuple[float, int]:
    """Seconds, and hits."""
    started, found = time.monotonic(), 0
    for part in parts:
        found += hits(part, rules).height
    return time.monotonic() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--mix", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    whole = tomllib.loads((ROOT / "tests" / "prefilter" / "injection_whole.toml").read_text("utf-8"))["rule"]
    sets = {
        "built-in, one expression each": [Rule.model_validate(table) for table in whole],
        "built-in": list(load([])),
        "200 made-up": made_up(),
        "built-in and 200 made-up": [*load([]), *made_up()],
    }
    events = events_of(given.shared, given.events, given.mix)
    size = int(events["message"].str.len_bytes().sum())
    parts = list(slices(events))
    print(f"{events.height:,} events of {size / events.height:.0f} bytes, {size / 1e6:.0f} MB, {len(parts)} slices")
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    found: dict[str, int] = {}
    for _ in range(given.rounds):
        for name, rules in sets.items():
            spent, found[name] = timed(parts, rules)
            seconds[name].append(spent)
    for name, values in seconds.items():
        middle = statistics.median(values)
        each = ", ".join(f"{value:.2f}" for value in values)
        rate = f"{events.height / middle:,.0f} events/s, {size / middle / 1e6:,.0f} MB/s"
        print(f"{name}: {rate} (median of {each} s), {found[name]:,} hits")
    before, after = list(sets)[:2]
    ratios = sorted(b / a for a, b in zip(seconds[after], seconds[before], strict=True))
    print(f"as they are against one expression each: {statistics.median(ratios):.1f} times as fast", end=" ")
    print("(" + ", ".join(f"{ratio:.1f}" for ratio in ratios) + ")")
    if found[before] != found[after]:
        raise SystemExit("the two forms do not hit the same")


if __name__ == "__main__":
    main()
