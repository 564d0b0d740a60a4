"""How fast shards are read into events, against the bare decoders: rows/s and MB/s for JSONL and Parquet.

    .venv/bin/python benchmarks/read_speed.py [--shared ../shared/data] [--megabytes 64] [--rounds 5]

The lines of the shards in `--shared` are repeated until the JSONL is as large as asked; the same records are written
plain, as gzip, zstd and Parquet (zstd, 8 row groups), and read by `shards.read.read` in slices of 8 MiB as a job reads
them: with the message mapped, with host, level, service and time also, and without a mapping (the record's canonical
JSON is the message). MB are those of the uncompressed lines, for Parquet too. Yardsticks of the same run, over the same
files: `orjson.loads` of every line of the plain file in a bare loop, and `polars.read_parquet`. All take turns; medians
of the rounds, and each value. Compare ratios to the yardsticks: they come from one run.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage.job import Input
from triage.shards.plan import plan
from triage.shards.read import read

SLICE_BYTES, RECORD_BYTES = 8 << 20, 64 << 20
MAPPINGS = {
    "message": {"message": "line"},
    "five columns": {
        "message": "line", "timestamp": "at", "host": "Component", "level": "Level", "service": "Pid",
    },
    "no mapping": {},
}  # fmt: skip


def write_shards(folder: Path, shared: Path, megabytes: float) -> int:
    """Write the shards; the number of their rows."""
    lines = [line for path in sorted((shared / "shards" / "jsonl").glob("*.jsonl")) for line in path.open("rb")]
    once = [
        {**orjson.loads(line), "at": f"2026-11-22T10:{n // 60 % 60:02}:{n % 60:02}.{n % 1000:03}Z"}
        for n, line in enumerate(lines)
    ]
    written = [orjson.dumps(record) + b"\n" for record in once]
    times = max(1, round(megabytes * 1e6 / sum(map(len, written))))
    data = b"".join(written) * times
    (folder / "plain.jsonl").write_bytes(data)
    (folder / "gzip.jsonl.gz").write_bytes(gzip.compress(data, 6))
    (folder / "zstd.jsonl.zst").write_bytes(pa.Codec("zstd").compress(data, asbytes=True))
    rows = pl.concat([pl.DataFrame(once, infer_schema_length=None)] * times)
    rows.write_parquet(folder / "rows.parquet", row_group_size=-(-rows.height // 8))
    return rows.height


def read_all(path: Path, fields: dict[str, str]) -> int:
    rows = 0
    table = Input(paths=[str(path)], fields=fields)
    for reading in plan([table], slice_bytes=SLICE_BYTES, max_record_bytes=RECORD_BYTES, limit_rows=None).readings:
        rows += sum(part.rows_in for part in read(reading, slice_bytes=SLICE_BYTES, max_record_bytes=RECORD_BYTES))
    return rows


def bare_json(path: Path) -> int:
    rows = 0
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
            rows += 1
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("TRIAGE_SHARED") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--megabytes", type=float, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = write_shards(folder, given.shared, given.megabytes)
        plain = folder / "plain.jsonl"
        megabytes = plain.stat().st_size / 1e6
        print(f"{rows:,} rows, {megabytes:.0f} MB of lines")
        runs: dict[str, Callable[[], int]] = {
            "orjson.loads, bare": functools.partial(bare_json, plain),
            "polars.read_parquet, bare": lambda: pl.read_parquet(folder / "rows.parquet").height,
        }
        for file in ("plain.jsonl", "gzip.jsonl.gz", "zstd.jsonl.zst", "rows.parquet"):
            for mapping, fields in MAPPINGS.items():
                if mapping == "message" or file in ("plain.jsonl", "rows.parquet"):
                    runs[f"{file}, {mapping}"] = functools.partial(read_all, folder / file, fields)
        seconds: dict[str, list[float]] = {run: [] for run in runs}
        for _ in range(given.rounds):
            for run, work in runs.items():
                started = time.perf_counter()
                done = work()
                seconds[run].append(time.perf_counter() - started)
                assert done == rows, (run, done)
    for run, values in seconds.items():
        yardstick = seconds["polars.read_parquet, bare" if "parquet" in run else "orjson.loads, bare"]
        middle = statistics.median(values)
        share = statistics.median(bare / value for bare, value in zip(yardstick, values, strict=True))
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"{run}: {rows / middle:,.0f} rows/s, {megabytes / middle:,.0f} MB/s, {share:.2f} of bare ({each} s)")


if __name__ == "__main__":
    main()
