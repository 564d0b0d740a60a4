"""Read ground truth: what each line should have been judged as.

Promises: every value that is used was understood or is named by file and line; lines without an agreed truth and
ambiguous ones are left out and counted, never guessed. Messages hold no log text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl
import pyarrow as pa

from triage.columns import LABELS
from triage.errors import WrongInput

CLASSES: Final = tuple(LABELS)
ALERT_CLASSES: Final = ("no alert", "alert")
TRUTHS: Final = ("triage", "disposition", "label", "alert")
"""Columns that may hold the truth, in the order in which they are looked for."""

KEYS: Final = (("event_id",), ("shard", "position"), ("message",))
"""What lines are known by; the first that the file has is used."""

BY: Final = "by."
"""Before the name of a column that lines are grouped by."""

_TYPES: Final = {"event_id": str, "shard": str, "position": int, "message": str}
_COMPRESSION: Final = {".gz": "gzip", ".zst": "zstd"}
_JSONL: Final = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Labels:
    """`lines` has one row a labelled line: `at` (its place in the file, from 1), the columns of `key`, `message` (null
    where the file has none), `truth` (an index of `classes`; above 0, an analyst should see it) and, as text after
    BY, the columns that lines may be grouped by."""

    lines: pl.DataFrame
    classes: tuple[str, ...]
    truth_column: str
    key: tuple[str, ...]
    groupings: tuple[str, ...]
    columns: tuple[str, ...]  # every name in the file
    labelled: int  # lines in the file
    no_truth: int  # of them, left out as nobody agreed on their truth
    ambiguous: int  # and left out as ambiguous


def read_labels(path: Path, *, truth: str | None = None, by: Sequence[str] = ()) -> Labels:
    """The labels in `path`: JSONL (plain, .gz, .zst) or Parquet. `truth` names their column where it is not the first
    of TRUTHS; `by` those to group by: without it `system` and `source`. Raises WrongInput."""
    records = list(_records(path))
    columns = dict.fromkeys(name for _, record in records for name in record)
    truth_column = _truth_column(path, columns, truth)
    key = next((key for key in KEYS if set(key) <= columns.keys()), None)
    if key is None:
        raise WrongInput(
            "nothing says which lines these are",
            where=str(path),
            expected="event_id, or shard and position, or message",
        )
    groupings = tuple(name for name in (by or ("system", "source")) if name in columns)
    kept, no_truth, ambiguous = [], 0, 0
    two_classes = truth_column == "alert" or _all_boolean(records, truth_column)
    for at, (where, record) in enumerate(records, 1):
        said = _truth(record.get(truth_column), where, truth_column, two_classes)
        if _ambiguous(record.get("ambiguous"), where):
            ambiguous += 1
        elif said is None:
            no_truth += 1
        else:
            known = {name: _known_by(record.get(name), where, name) for name in key}
            message = record.get("message")
            groups = {BY + name: _as_group(record.get(name)) for name in groupings}
            kept.append(
                {"at": at, "message": message if isinstance(message, str) else None, "truth": said} | known | groups
            )
    if not kept:
        raise WrongInput(
            f"no line has a truth in the column {truth_column!r}", where=str(path), expected="labelled lines"
        )
    schema = {"at": pl.Int64, "message": pl.String, "truth": pl.Int8}
    schema |= {name: pl.Int64 if name == "position" else pl.String for name in key}
    schema |= {BY + name: pl.String for name in groupings}
    return Labels(
        lines=pl.DataFrame(kept, schema=schema),
        classes=ALERT_CLASSES if two_classes else CLASSES,
        truth_column=truth_column,
        key=key,
        groupings=groupings,
        columns=tuple(columns),
        labelled=len(records),
        no_truth=no_truth,
        ambiguous=ambiguous,
    )


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, the record) of each line that is not blank."""
    if not path.is_file():
        raise WrongInput("no such file", where=str(path), expected="labels: JSONL (also .gz, .zst) or Parquet")
    if path.suffix == ".parquet":
        try:
            rows = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError):
            raise WrongInput("cannot be read", where=str(path), expected="a Parquet file") from None
        yield from ((f"{path} row {number}", row) for number, row in enumerate(rows.iter_rows(named=True)))
        return
    if not path.name.removesuffix(".gz").removesuffix(".zst").endswith(_JSONL):
        raise WrongInput(
            "the name does not say what it is", where=str(path), expected=".jsonl, .jsonl.gz, .jsonl.zst or .parquet"
        )
    try:
        # pyarrow reads what polars writes with either compression, and shards are read by it too.
        with pa.input_stream(str(path), compression=_COMPRESSION.get(path.suffix)) as stream:
            whole: bytes = stream.read()
    except OSError:
        raise WrongInput("cannot be read", where=str(path), expected="a whole file, as its name says") from None
    for number, line in enumerate(whole.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise WrongInput("not a record", where=f"{path}:{number}", expected="one JSON object a line")
        yield f"{path}:{number}", record


def _truth_column(path: Path, columns: Mapping[str, None], asked: str | None) -> str:
    if asked is not None and asked not in columns:
        raise WrongInput(f"no column {asked!r}", where=str(path), expected=f"one of {', '.join(sorted(columns))}")
    found = asked or next((name for name in TRUTHS if name in columns), None)
    if found is None:
        raise WrongInput("no column says the truth", where=str(path), expected=f"one of {', '.join(TRUTHS)}")
    return found


def _all_boolean(records: Sequence[tuple[str, Mapping[str, Any]]], column: str) -> bool:
    values = [record.get(column) for _, record in records if record.get(column) is not None]
    return bool(values) and all(isinstance(value, bool) for value in values)


def _truth(value: object, where: str, column: str, two_classes: bool) -> int | None:
    if value is None:
        return None
    if two_classes:
        if isinstance(value, bool):
            return int(value)
        raise WrongInput(f"{column!r} is no truth", where=where, expected="true, false or null")
    if isinstance(value, str) and value in CLASSES:
        return CLASSES.index(value)
    raise WrongInput(f"{column!r} is no truth", where=where, expected=f"{', '.join(CLASSES)} or null")


def _ambiguous(value: object, where: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise WrongInput("'ambiguous' is neither true nor false", where=where, expected="true, false or null")


def _known_by(value: object, where: str, name: str) -> object:
    kind = _TYPES[name]
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise WrongInput(
        f"{name!r} does not say which line this is", where=where, expected="a whole number" if kind is int else "text"
    )


def _as_group(value: object) -> str | None:
    return None if value is None else value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
