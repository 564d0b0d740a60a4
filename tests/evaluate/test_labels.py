"""Labels are understood whole or refused by file and line, and what has no agreed truth is left out and counted."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pytest

from tests.evaluate.build import write_labels
from triage.errors import WrongInput
from triage.evaluate.labels import read_labels

ROWS = [
    {"message": "a", "triage": "benign", "system": "x"},
    {"message": "b", "triage": None, "system": "x"},
    {"message": "c", "triage": "escalate", "system": "y", "ambiguous": True},
    {"message": "d", "triage": "review", "system": None, "ambiguous": False},
]


@pytest.mark.parametrize("name", ["l.jsonl", "l.jsonl.gz", "l.jsonl.zst", "l.parquet"])
def test_every_form_says_the_same(tmp_path: Path, name: str) -> None:
    path, plain = tmp_path / name, b"\n".join(map(orjson.dumps, ROWS)) + b"\n\n"
    if name.endswith("parquet"):
        pl.DataFrame(ROWS).write_parquet(path)
    elif name.endswith("zst"):
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(plain)
    else:
        path.write_bytes(gzip.compress(plain) if name.endswith("gz") else plain)
    labels = read_labels(path)
    assert labels.lines.select("message", "truth", "by.system").rows() == [("a", 0, "x"), ("d", 1, None)]
    assert (labels.labelled, labels.no_truth, labels.ambiguous) == (4, 1, 1)
    assert (labels.truth_column, labels.key, labels.groupings) == ("triage", ("message",), ("system",))


@pytest.mark.parametrize(
    ("row", "column", "classes"),
    [
        ({"triage": "review", "disposition": "benign", "alert": True}, "triage", 3),
        ({"disposition": "review", "label": "benign"}, "disposition", 3),
        ({"label": "review", "alert": False}, "label", 3),
        ({"alert": True}, "alert", 2),
    ],
)
def test_the_truth_is_the_first_column_that_may_say_it(
    tmp_path: Path, row: dict[str, Any], column: str, classes: int
) -> None:
    labels = read_labels(write_labels(tmp_path / "l.jsonl", [{"message": "a"} | row]))
    assert (labels.truth_column, len(labels.classes), labels.lines["truth"].to_list()) == (column, classes, [1])


def test_another_column_is_the_truth_where_it_is_named(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "l.jsonl", [{"message": "a", "triage": "benign", "alert": True}])
    assert read_labels(path, truth="alert").lines["truth"].to_list() == [1]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"event_id": "e", "shard": "s", "position": 1, "message": "m"}, ("event_id",)),
        ({"shard": "s", "position": 1, "message": "m"}, ("shard", "position")),
        ({"shard": "s", "message": "m"}, ("message",)),
    ],
)
def test_lines_are_known_by_the_first_key_there_is(tmp_path: Path, row: dict[str, Any], key: tuple[str, ...]) -> None:
    assert read_labels(write_labels(tmp_path / "l.jsonl", [row | {"triage": "benign"}])).key == key


SECRET = "log-text-that-nobody-may-see"
GOOD = b'{"message": "m", "triage": "benign"}\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD + b'{"message": "m", "triage": "%s"}\n' % SECRET.encode(), "l.jsonl:2: 'triage' is no truth"),
        (GOOD + b"\n" + SECRET.encode(), "l.jsonl:3: not a record"),
        (GOOD + b'["%s"]\n' % SECRET.encode(), "l.jsonl:2: not a record"),
        (GOOD + b'{"message": null, "triage": "benign"}\n', "l.jsonl:2: 'message' does not say which line"),
        (GOOD + b'{"message": "m", "triage": "benign", "ambiguous": "no"}\n', "l.jsonl:2: 'ambiguous' is neither"),
        (b'{"message": "m", "alert": true}\n{"message": "m", "alert": "yes"}\n', "l.jsonl:2: 'alert' is no truth"),
        (b'{"shard": "s", "position": true, "triage": "benign"}\n', "l.jsonl:1: 'position' does not say"),
        (b'{"message": "m"}\n', "no column says the truth"),
        (b'{"triage": "benign"}\n', "nothing says which lines"),
        (b'{"message": "m", "triage": null}\n', "no line has a truth"),
        (b"", "no column says the truth"),
    ],
)
def test_what_is_not_understood_is_named_by_file_and_line_without_its_text(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "l.jsonl").write_bytes(content)
    with pytest.raises(WrongInput) as refused:
        read_labels(tmp_path / "l.jsonl")
    assert says in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "expected" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.jsonl", None, "no such file"),
        ("l.csv", b"", "the name does not say"),
        ("l.parquet", b"no", "cannot be read"),
        ("l.jsonl.gz", b"no", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongInput, match=says):
        read_labels(tmp_path / name)


def test_a_truth_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no column 'severity'"):
        read_labels(write_labels(tmp_path / "l.jsonl", ROWS), truth="severity")
