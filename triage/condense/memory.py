"""Answers already paid for, in plain Parquet under `[memory] path`.

    <memory>/key-id               which key its rows are sealed with
    <memory>/answers/*.parquet    one row an answer
    <memory>/corrections/*.parquet

An answer is found by the keyed fingerprint of its template and of everything that the answer depends on (the scope:
weights, prompt, schema, sampling, masks). Evidence is spans of characters over the template.

Promises: no log text and nothing that a model wrote freely; a row whose MAC fails is never used, and counted; the
first sound answer to a question stands; many runs may read and write at once, since files appear whole under names
of their own and only `rewrite` removes any. Cannot tell that rows were taken away, or put back.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from triage.columns import LABELS, UTC_US
from triage.condense.key import Key, read_key
from triage.condense.slots import span
from triage.errors import WrongInput
from triage.files import publish, unwritable
from triage.records import Answer, Explanation, Usage

ANSWERS: Final[dict[str, pl.DataType]] = {
    "fingerprint": pl.String(),
    "model_digest": pl.String(),
    "prompt_digest": pl.String(),
    "p_benign": pl.Float64(),
    "p_review": pl.Float64(),
    "p_escalate": pl.Float64(),
    "severity": pl.String(),
    "category": pl.String(),
    "evidence": pl.List(pl.Int64()),  # start, stop, start, stop, ...
    "judged_in": pl.String(),
    "judged_at": UTC_US,
    "mac": pl.Binary(),
}
FOLDERS: Final = ("answers", "corrections", ".work")
MANY_FILES: Final = 64
"""More files than this are made one when a run ends."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What answers depend on beside the template's text. `digest` covers it all; `stages` is a part of it that people
    ask for by name: the digests of weights and prompt, for each model that may have answered."""

    digest: str
    stages: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Recalled:
    answers: tuple[Answer, ...]
    refused: int  # rows that were asked for, and whose MAC fails, or files that are not Parquet


@dataclass(frozen=True, slots=True)
class Memory:
    path: Path
    key: Key

    def recall(
        self,
        scope: Scope,
        texts: Mapping[str, str],
        *,
        after: datetime,
        before: datetime,
        run_id: str,
        since: datetime,
    ) -> Recalled:
        """The answers to the templates of `texts` (id -> text) that were given from `after` to before `before`. What
        the run `run_id` gave from `since` on is its own: it was asked in an earlier attempt."""
        wanted = {self.key.fingerprint(scope.digest, template_id): template_id for template_id in texts}
        rows, refused = self._find(list(wanted))
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            if not self.key.holds(_sealed(row), row["mac"]):
                refused += 1
                continue
            kept = first.get(row["fingerprint"])
            earlier = kept is None or (row["judged_at"], row["judged_in"]) < (kept["judged_at"], kept["judged_in"])
            if earlier and after <= row["judged_at"] < before:
                first[row["fingerprint"]] = row
        answers = []
        for mark, row in first.items():
            own = row["judged_in"] == run_id and row["judged_at"] >= since
            said_by = (row["model_digest"], row["prompt_digest"])
            stage = scope.stages.index(said_by) if said_by in scope.stages else 0
            answer = _answer(wanted[mark], texts[wanted[mark]], row, None if own else row["judged_in"])
            answers.append(replace(answer, stage=stage))
        return Recalled(tuple(answers), refused)

    def remember(
        self, scope: Scope, name: str, run_id: str, answers: Sequence[Answer], texts: Mapping[str, str]
    ) -> None:
        """Write the answers that this run paid for, under `name`. What is undecided is not remembered. Raises Stopped
        where the folder cannot be written."""
        now = datetime.now(UTC)
        rows = []
        for answer in answers:
            if answer.probabilities is None or answer.asked == 0 or answer.judged_in is not None:
                continue
            told = answer.explanation or Explanation()
            row: dict[str, Any] = {
                "fingerprint": self.key.fingerprint(scope.digest, answer.template_id),
                "model_digest": scope.stages[answer.stage][0],
                "prompt_digest": scope.stages[answer.stage][1],
                **{f"p_{label}": answer.probabilities[label] for label in LABELS},
                "severity": told.severity,
                "category": told.category,
                "evidence": _spans(told.evidence, texts[answer.template_id]),
                "judged_in": run_id,
                "judged_at": now,
            }
            rows.append(row | {"mac": self.key.seal(_sealed(row))})
        if rows:
            self.write("answers", name, pl.DataFrame(rows, schema=ANSWERS))

    def files(self, folder: str) -> list[Path]:
        return sorted((self.path / folder).glob("*.parquet"))

    def write(self, folder: str, name: str, rows: pl.DataFrame) -> None:
        """Put `rows` there as one file. Raises Stopped where that fails."""
        work = self.path / ".work" / f"{folder}-{name}-{secrets.token_hex(4)}"
        try:
            rows.write_parquet(work, compression="zstd")
            publish(work, self.path / folder / f"{name}.parquet")
        except OSError as problem:
            raise unwritable(self.path, problem) from None

    def sound(self, rows: pl.DataFrame) -> pl.Series:
        """Of rows of `ANSWERS`: whether the MAC holds."""
        return pl.Series(
            [self.key.holds(_sealed(row), row["mac"]) for row in rows.iter_rows(named=True)], dtype=pl.Boolean
        )

    def read_answers(self) -> tuple[pl.DataFrame, int]:
        """(every row, files that are not Parquet of ours)."""
        found, refused = [pl.DataFrame(schema=ANSWERS)], 0
        for file in self.files("answers"):
            rows = _read(file)
            refused += rows is None
            found += [] if rows is None else [rows]
        return pl.concat(found), refused

    def merge(self, run_id: str, after: datetime) -> None:
        """At the end of a run: make one file of its files, or of all where there are many, and drop the answers of any
        run that were given before `after`."""
        with self._alone():
            files = self.files("answers")
            own = [file for file in files if file.name.startswith(f"{run_id}-")]
            some = files if len(files) > MANY_FILES + len(own) else own
            read = [(file, rows) for file in some if (rows := _read(file)) is not None]
            if read:
                rows = pl.concat([rows for _, rows in read]).filter(pl.col("judged_at") >= after)
                stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
                if rows.height:
                    self.write("answers", f"{run_id}-merged-{stamp}", rows.sort("fingerprint"))
                for file, _ in read:
                    file.unlink(missing_ok=True)
        self.rewrite(lambda rows: rows["judged_at"] >= after)

    def rewrite(self, keep: Callable[[pl.DataFrame], pl.Series]) -> int:
        """Drop the answers for which `keep` is false, and give their number."""
        dropped = 0
        with self._alone():
            for file in self.files("answers"):
                rows = _read(file)
                if rows is None:
                    continue
                kept = rows.filter(keep(rows))
                dropped += rows.height - kept.height
                if kept.is_empty():
                    file.unlink(missing_ok=True)
                elif kept.height < rows.height:
                    self.write("answers", file.stem, kept)
        return dropped

    def _find(self, fingerprints: list[str]) -> tuple[list[dict[str, Any]], int]:
        """(the rows with one of the fingerprints, files that are not Parquet of ours)."""
        wanted = pl.Series(fingerprints, dtype=pl.String)
        for _ in range(5):  # another run may make one file of many while we read
            found: list[dict[str, Any]] = []
            refused = 0
            try:
                for file in self.files("answers"):
                    rows = _read(file, wanted)
                    refused += rows is None
                    found += [] if rows is None else rows.to_dicts()
                return found, refused
            except FileNotFoundError:
                continue
        return found, refused

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time takes files away."""
        with (self.path / "lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_memory(path: Path, *, create: bool) -> Memory | None:
    """The memory at `path`, made with mode 0700 where `create` is set, else None where there is none.

    Raises WrongInput where it cannot be written, or is sealed with another key.
    """
    if not create and not (path / "key-id").exists():
        return None
    key = read_key(create=create)
    try:
        if create:
            for folder in (path, *(path / name for name in FOLDERS)):
                folder.mkdir(parents=folder == path, exist_ok=True, mode=0o700)
            if not (path / "key-id").exists():
                work = path / ".work" / f"key-id-{secrets.token_hex(4)}"
                work.write_text(key.id)
                publish(work, path / "key-id")
        there = (path / "key-id").read_text().strip()
    except OSError as problem:
        raise WrongInput(
            f"cannot be used as memory: {problem.strerror}", where=str(path), expected="a folder that can be written"
        ) from None
    if there != key.id:
        raise WrongInput(
            "sealed with another key",
            where=str(path),
            expected=f"key {there}, this is {key.id}",
            next="set TRIAGE_KEY to the file of that key, or choose another [memory] path",
        )
    return Memory(path, key)


def oldest(now: datetime, max_age_days: int) -> datetime:
    """From when on answers are used."""
    return now - timedelta(days=max_age_days)


def _sealed(row: Mapping[str, Any]) -> list[object]:
    return ["answer", *(row[name] for name in ANSWERS if name != "mac")]


def _read(file: Path, fingerprints: pl.Series | None = None) -> pl.DataFrame | None:
    """The rows of a file, or those with one of the fingerprints. None where it is not a file of ours. Raises
    FileNotFoundError where it is gone."""
    try:
        rows = pl.scan_parquet(file).select(pl.col(name).cast(kind) for name, kind in ANSWERS.items())
        if fingerprints is not None:
            rows = rows.filter(pl.col("fingerprint").is_in(fingerprints.implode()))
        return rows.collect()
    except FileNotFoundError:
        raise
    except (pl.exceptions.PolarsError, OSError):
        if not file.exists():
            raise FileNotFoundError from None
        return None


def _answer(template_id: str, text: str, row: Mapping[str, Any], judged_in: str | None) -> Answer:
    pairs = list(zip(row["evidence"][::2], row["evidence"][1::2], strict=True))
    told = None
    if pairs or row["severity"] or row["category"]:
        told = Explanation(
            severity=row["severity"],
            category=row["category"],
            evidence=tuple(text[start:stop] for start, stop in pairs),
        )
    probabilities = {label: row[f"p_{label}"] for label in LABELS}
    return Answer(template_id, probabilities, None, told, Usage(), 0, judged_in)


def _spans(evidence: Sequence[str], text: str) -> list[int]:
    """Where the quotations stand in the template; one that does not is not remembered."""
    return [place for words in evidence for place in span(words, text) or ()]
