"""A named person's verdicts on templates. They stand in the memory, each in a file of its own, sealed as answers are.

Promises: a correction whose MAC fails is never used, and counted; of several for one template the last made counts,
until it expires; it applies to the same text under the same masks, whatever model and prompt a run has.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from triage.columns import UTC_US, Label
from triage.condense.memory import Memory
from triage.errors import WrongInput
from triage.records import Correction

CORRECTIONS: Final[dict[str, pl.DataType]] = {
    "id": pl.String(),
    "fingerprint": pl.String(),
    "disposition": pl.String(),
    "because": pl.String(),
    "by": pl.String(),
    "at": UTC_US,
    "until": UTC_US,
    "mac": pl.Binary(),
}


def correct(memory: Memory, template_id: str, disposition: Label, *, because: str, by: str, days: int) -> Correction:
    """Enter a correction of a template, in force for `days` from now. Raises WrongInput for one without a reason, a
    name or a day, and Stopped where the memory cannot be written."""
    for name, said in (("--because", because.strip()), ("--by", by.strip()), ("--days", days > 0)):
        if not said:
            raise WrongInput(
                f"{name} is empty" if name != "--days" else "--days is not positive", where="triage correct"
            )
    now = datetime.now(UTC)
    made = Correction(
        id=secrets.token_hex(8),
        fingerprint=memory.key.fingerprint("correction", template_id),
        disposition=disposition,
        because=because.strip(),
        by=by.strip(),
        at=now,
        until=now + timedelta(days=days),
    )
    row = _row(made)
    memory.write(
        "corrections", made.id, pl.DataFrame([row | {"mac": memory.key.seal(_sealed(row))}], schema=CORRECTIONS)
    )
    return made


def read_corrections(memory: Memory) -> tuple[tuple[Correction, ...], int]:
    """(the corrections, oldest first, those that expired too; files that are not one, or whose MAC fails)."""
    found, refused = [], 0
    for file in memory.files("corrections"):
        try:
            (row,) = pl.read_parquet(file).select(pl.col(n).cast(k) for n, k in CORRECTIONS.items()).to_dicts()
        except (pl.exceptions.PolarsError, OSError, ValueError):
            refused += 1
            continue
        if not memory.key.holds(_sealed(row), row["mac"]):
            refused += 1
            continue
        found.append(Correction(**{name: row[name] for name in CORRECTIONS if name != "mac"}))
    return tuple(sorted(found, key=lambda correction: (correction.at, correction.id))), refused


def in_force(corrections: Sequence[Correction], at: datetime) -> tuple[Correction, ...]:
    """Of each template the last that was made by `at`, where it has not expired by then."""
    last = {correction.fingerprint: correction for correction in corrections if correction.at <= at}
    return tuple(correction for correction in last.values() if correction.until > at)


def corrected(
    events: pl.DataFrame, templates: pl.DataFrame, corrections: Sequence[Correction], memory: Memory | None
) -> pl.DataFrame:
    """`events` (with `template_id`) with `correction`: the id of the correction of its template, null for most."""
    if not corrections or memory is None:
        return events.with_columns(correction=pl.lit(None, pl.String))
    of = {correction.fingerprint: correction.id for correction in corrections}
    known = {
        template_id: of[mark]
        for template_id in templates["template_id"]
        if (mark := memory.key.fingerprint("correction", template_id)) in of
    }
    return events.with_columns(
        correction=pl.col("template_id").replace_strict(known, default=None, return_dtype=pl.String)
    )


def forget(memory: Memory, correction_id: str) -> None:
    """Take a correction back. Raises WrongInput where there is none of that id."""
    file = memory.path / "corrections" / f"{correction_id}.parquet"
    if not correction_id.isalnum() or not file.exists():
        raise WrongInput(
            f"no correction {correction_id!r}",
            where=str(memory.path),
            next="triage memory show --corrections lists them",
        )
    file.unlink()


def _row(correction: Correction) -> dict[str, Any]:
    return {name: getattr(correction, name) for name in CORRECTIONS if name != "mac"}


def _sealed(row: Mapping[str, Any]) -> list[object]:
    return ["correction", *(row[name] for name in CORRECTIONS if name != "mac")]
