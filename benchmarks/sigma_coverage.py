"""How much of a Sigma repository compiles, whether rules hit the events kept for them, and what 1,900 rules cost.

    .venv/bin/python benchmarks/sigma_coverage.py [--shared ../shared/data] [--events 100000] [--rounds 3]

Of each regression event that its rule does not hit, the conditions that it does not meet are printed beside its values.

Events for the speed: `--mix` of them (by default a half) are the repository's regression events, drawn with
replacement from a fixed seed; the rest are lines of the shards' Windows log, as text. They are written as two JSONL
shards and read in slices as a job reads them. In the first ("as drawn") each event has fresh process and record
numbers, so that messages differ and most fields that rules ask for recur, as they do in real logs, if not so often. In
the second ("no two alike") its command lines, images, files and registry keys also have a fresh ending each: nothing
recurs, and rules that look at an ending hit less. Sifting is timed with and without the Sigma rules, reading by itself.
Rounds of the two shards take turns. Medians of the rounds, and each value.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from triage.prefilter import sigma_fields, sigma_sources
from triage.prefilter.sift import sift
from triage.prefilter.sigma import Ruleset, SigmaRule
from triage.prefilter.sigma_compile import load
from triage.prefilter.sigma_tree import All, Either, Not, Test, Tree, tests
from triage.shards.plan import plan
from triage.shards.read import read

SLICE_BYTES, RECORD_BYTES = 8 << 20, 64 << 20
ENDED = ("CommandLine", "ParentCommandLine", "Image", "ParentImage", "ImageLoaded", "TargetFilename", "TargetObject")


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
    by_id = {rule.id: rule for rule in rules.rules}
    for one in missed:
        print(f"  missed {one['rule_id']} {one['rule_path']}")
        for line in unmet(by_id[one["rule_id"]], one["event"]):
            print(f"    {line}")


def unmet(rule: SigmaRule, event: str) -> list[str]:
    """Each condition of the rule that the event does not meet, with the value that it has."""
    fields, sources = sigma_fields.read(event, None)
    if not any(sigma_sources.sees(rule.logsource, source) for source in sources):
        return [f"log source {rule.logsource}, the event is of {sources}"]
    frame = pl.DataFrame([{"position": 0, "message": event}], schema=EVENTS)

    def is_met(tree: Tree) -> bool:
        return Ruleset((dataclasses.replace(rule, tree=tree),)).hits(frame).height > 0

    def lines(tree: Tree, indent: str) -> list[str]:
        if isinstance(tree, All):
            return [line for part in tree.parts if not is_met(part) for line in lines(part, indent)]
        if isinstance(tree, Either) and not all(isinstance(part, Test) for part in tree.parts):
            parts = [line for part in tree.parts for line in lines(part, indent + "  ")]
            return [f"{indent}none of:", *parts]
        alternatives: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for test in tests(tree):
            alternatives[test.field, test.name].append(repr(test.value))
        not_ = "meets what it must not: " if isinstance(tree, Not) else ""
        return [
            f"{indent}{not_}{field} {name} {' or '.join(wanted[:8])}{' or ...' * (len(wanted) > 8)}; "
            f"it is {fields.get(field)!r}"
            for (field, name), wanted in alternatives.items()
        ]

    return lines(rule.tree, "")


def write_shard(path: Path, kept: list[str], lines: list[str], count: int, mix: float, *, different: bool) -> Path:
    draw = random.Random(20261122)
    numbers = re.compile(r'("(?:EventRecordID|ProcessId|ProcessID|ThreadID|ParentProcessId)":)\d+')
    endings = re.compile(rf'("(?:{"|".join(ENDED)})":"(?:[^"\\]|\\.)*)"')
    with path.open("wb") as out:
        for _ in range(count):
            if draw.random() < mix:
                text = numbers.sub(lambda found: found[1] + str(draw.randrange(1, 1 << 30)), draw.choice(kept))
                if different:
                    text = endings.sub(lambda found: f'{found[1]} {draw.randrange(1 << 30):x}"', text)
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
        shards = {
            name: write_shard(
                Path(folder) / f"{number}.jsonl",
                [one["event"] for one in kept],
                lines,
                given.events,
                given.mix,
                different=number > 0,
            )
            for number, name in enumerate(("as drawn", "no two alike"))
        }
        rounds = [{name: timed(path, rules) for name, path in shards.items()} for _ in range(given.rounds)]
        for name, path in shards.items():
            print(f"{name}: {given.events} events, {path.stat().st_size / 1e6:.0f} MB, {given.mix:.0%} Sigma's own")
            report([one[name] for one in rounds], given.events)


def report(rounds: list[dict[str, float]], events: int) -> None:
    for name in ("reading", "built-in rules", "sigma alone", "all rules"):
        values = [one[name] for one in rounds]
        middle = statistics.median(values)
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"  {name}: {events / middle:,.0f} events/s (median of {each} s)")
    share = statistics.median(one["all rules"] / (one["all rules"] + one["reading"]) for one in rounds)
    print(f"  sifting with all rules is {share:.0%} of reading and sifting; {rounds[0]['hits']:.0f} hits")


if __name__ == "__main__":
    main()
