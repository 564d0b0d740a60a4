"""The sample shards are the same every time, and the truth beside them points at the right records."""

import gzip
import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

generate = runpy.run_path(str(Path(__file__).parents[2] / "demo" / "generate.py"))["generate"]
MASK = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|[0-9]+")
BOM = b"\xef\xbb\xbf"
Made = tuple[Path, dict[str, int], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("demo")
    counts = generate(out, 7, 2400)
    return out, counts, [json.loads(line) for line in (out / "truth.jsonl").read_bytes().splitlines()]


def records(path: Path) -> dict[int, str]:
    """The text of every record by its position: `line` or `message`, or the whole; "" if malformed."""
    if path.suffix == ".parquet":
        return dict(enumerate(pq.read_table(path)["line"].to_pylist()))
    data, found, offset = path.read_bytes(), dict[int, str](), 0
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    data = pa.input_stream(str(path), compression="zstd").read() if path.suffix == ".zst" else data
    for line in data.split(b"\n"):
        try:
            record = json.loads(line.removeprefix(BOM).decode())
            text = record["line"] if "nginx" in path.name else record.get("message", line.decode())
        except (ValueError, LookupError, TypeError, AttributeError):
            text = ""
        if line:
            found[offset] = text if isinstance(text, str) else ""
        offset += len(line) + 1
    return found


def test_same_seed_same_bytes(made: Made, tmp_path: Path) -> None:
    generate(tmp_path / "again", 7, 2400)
    generate(tmp_path / "other", 8, 2400)
    for path in made[0].iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_counts_classes_and_malformed_kinds(made: Made) -> None:
    out, counts, truth = made
    classes = Counter(entry["truth"] for entry in truth)
    assert Counter(entry["shard"] for entry in truth) == counts and sum(counts.values()) == 2400
    assert 0.85 < classes["benign"] / 2400 < 0.90
    assert classes["review"] > classes["escalate"] > classes["malformed"] > 0
    odd = Counter(e["kind"] for e in truth if e["shard"] == "nginx.jsonl" and e["truth"] == "malformed")
    once = ("invalid-utf8", "not-an-object", "missing-line", "line-not-text")
    assert odd == {"broken-json": 2, **dict.fromkeys(once, 1)}
    nginx = (out / "nginx.jsonl").read_bytes()
    assert nginx.startswith(BOM) and b"\r\n" in nginx and b"\n\n" in nginx
    assert max(map(len, nginx.split(b"\n"))) > 12_000
    assert not (out / "windows.jsonl").read_bytes().endswith(b"\n")


def test_truth_points_at_its_record(made: Made) -> None:
    out, counts, truth = made
    texts = {(shard, position): text for shard in counts for position, text in records(out / shard).items()}
    told = {(entry["shard"], entry["position"]): entry["truth"] for entry in truth}
    assert texts.keys() == told.keys()
    assert {place for place in texts if not texts[place]} == {p for p in told if told[p] == "malformed"}
    judged = {(MASK.sub("#", texts[place]), told[place]) for place in texts if texts[place]}
    assert len(judged) == len({shape for shape, _ in judged})  # rows of one shape have one truth
    assert 120 < len(judged) < 160
