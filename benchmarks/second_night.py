"""How many questions the memory answers when the same day comes again, and none where what it depends on changed.

    .venv/bin/python benchmarks/second_night.py [--shared ../shared/data] [--rows 200] [--model default]

Night one: the first `--rows` lines of each of the twelve shared systems through `triage run` with the real engine and a
new memory. Night two: the same lines in another order, with other times, process ids, long numbers and hexadecimal
ids (`disguised`, which knows nothing of the masks), through `triage run` again. Then what would be asked on night two
with one word more in the prompt, and with one byte of the weights changed (`forecast`: nothing is loaded).
The share is of templates that a slice needs, which is what is asked where there is no memory.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage import job, pipeline
from triage.custody import registry
from triage.forecast import forecast
from triage.records import digest_of
from triage.run import Run, load_run

TRIAGE = Path(sys.executable).parent / "triage"
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"


def disguised(line: str, draw: random.Random) -> str:
    """`line` on another day, by another process: the same event. A date in a path names a thing and an HRESULT is an
    error code: another of either would be another event."""

    def digits(found: re.Match[str]) -> str:
        return str(draw.randrange(1, 10)) + "".join(str(draw.randrange(10)) for _ in found[0][1:])

    def hexadecimal(found: re.Match[str]) -> str:
        return found[1] + "".join(draw.choice("123456789abcdef") for _ in found[2])

    line = re.sub(
        r"\b\d\d:\d\d:\d\d", lambda _: f"{draw.randrange(24):02}:{draw.randrange(60):02}:{draw.randrange(60):02}", line
    )
    line = re.sub(rf"\b({MONTHS}) [ \d]\d\b", lambda found: f"{found[1]} {draw.randrange(1, 29):2}", line)
    line = re.sub(
        r"(?<![/\w])(20\d\d[-/.]\d\d[-/.])\d\d\b", lambda found: f"{found[1]}{draw.randrange(1, 29):02}", line
    )
    line = re.sub(r"(?<=\[)[1-9]\d{2,6}(?=\])", digits, line)
    line = re.sub(r"(?<!HRESULT = )\b(0x)([1-9a-f][0-9a-f]{5,15})\b", hexadecimal, line)
    return re.sub(r"(?<![\w.:/-])[1-9]\d{5,}(?![\w.:/-])", digits, line)


def write_day(folder: Path, lines: list[str]) -> Path:
    folder.mkdir()
    (folder / "day.jsonl").write_bytes(b"".join(orjson.dumps({"line": line}) + b"\n" for line in lines))
    return folder


def write_job(folder: Path, shards: Path, output: str, model: str) -> Path:
    path = folder / f"{output}.toml"
    path.write_text(
        f'[input]\npaths = ["{shards}"]\nfields = {{ message = "line" }}\n[model]\nname = "{model}"\n'
        f'[memory]\npath = "memory"\n[sample]\nsettled = 0\nshared = 0\n[output]\npath = "{output}"\n'
    )
    return path


def judged(path: Path) -> dict[str, int]:
    done = subprocess.run([TRIAGE, "run", path, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"triage run failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    return dict(orjson.loads(done.stdout))


def changed_weights(folder: Path, model: str) -> str:
    """The model with the last bit of one byte of its weights changed, under another name."""
    source = folder / "changed"
    source.mkdir()
    for file in registry.weights(model).iterdir():
        (source / file.name).write_bytes(file.read_bytes())
    weights = next(source.glob("*.safetensors"))
    value = bytearray(weights.read_bytes())
    value[-1] ^= 1
    weights.write_bytes(value)
    registry.add("changed", source, origin="benchmark", licence="as the original")
    registry.approve("changed", "benchmark", "benchmark")
    return "changed"


def expected(run: Run) -> tuple[int, int]:
    """(questions that would be asked, rows that memory would answer)."""
    counts, _ = forecast(run, pipeline.plan(run))
    return sum(count["questions"] for count in counts.values()), sum(count["known"] for count in counts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    shards = sorted((given.shared / "shards").glob("*/*"))
    systems = [file for file in shards if file.parent.name in ("jsonl", "parquet")]
    lines = [
        line
        for file in systems
        for line in (pl.read_ndjson(file) if file.suffix == ".jsonl" else pl.read_parquet(file))["line"].head(
            given.rows
        )
    ]
    draw = random.Random(20261124)
    again = [disguised(line, draw) for line in lines]
    draw.shuffle(again)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TRIAGE_KEY"] = str(folder / "key")
        one, two = write_day(folder / "one", lines), write_day(folder / "two", again)
        print(
            f"{len(lines)} lines of {len(systems)} systems; {len(set(lines) & set(again))} are the same on both nights"
        )
        first = judged(write_job(folder, one, "first", given.model))
        print(f"night one: {first['questions']} questions, {first['engine_seconds']:.0f} s of engine time")
        plain = load_run(job.load(write_job(folder, two, "second", given.model)))
        asked, known = expected(plain)
        second = judged(write_job(folder, two, "second", given.model))
        found = second["templates_from_memory"]
        needed = found + second["questions"]
        print(
            f"night two: {second['questions']} questions; from memory {found} of {needed} templates "
            f"({found / needed:.1%}) and {second['rows_from_memory']} of {second['rows_in']} rows; "
            f"forecast: {asked} questions, {known} rows; {second['engine_seconds']:.0f} s of engine time"
        )
        system = plain.prompt.system + " Indeed."
        say(
            "one word more in the prompt",
            replace(plain, stages=(replace(plain.stages[0], prompt=replace(plain.prompt, digest=digest_of(system))),)),
        )
        os.environ["TRIAGE_MODELS"] = registry_copy(folder, given.model)
        other = write_job(folder, two, "other", changed_weights(folder, given.model))
        say("one bit of the weights", load_run(job.load(other)))


def say(what: str, run: Run) -> None:
    questions, rows = expected(run)
    print(f"{what} changed: {questions} questions, {rows} rows from memory")


def registry_copy(folder: Path, model: str) -> str:
    """A registry of its own with the model in it, so that the changed one enters no other."""
    entry, weights = registry.get(model), registry.weights(model)
    os.environ["TRIAGE_MODELS"] = str(folder / "models")
    registry.add(model, weights, origin=entry.source, licence=entry.licence)
    registry.approve(model, "benchmark", "benchmark")
    return str(folder / "models")


if __name__ == "__main__":
    main()
