"""The account of a run: OUTPUT/run.json.

Promises: one OUTPUT belongs to one configuration; the totals are sums over receipts, so that a run that was
resumed counts every row once; what was spent on slices that were never committed is shown as waste; the rows
balance or the account says that they do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from triage.columns import DISPOSITIONS
from triage.errors import PromiseBroken, WrongInput
from triage.records import OUTCOMES, Account, Attempt, Receipt, Tally, Unreadable, Usage
from triage.verdicts.commit import read_run, write_json
from triage.verdicts.measured import measured

_COUNTED = ("sample_questions", "templates_from_memory", "memory_refused")


def open_account(output: Path, fresh: Account, started_at: str) -> Account:
    """The account with a new attempt: `fresh` for a new OUTPUT, else the one that is there.

    Raises WrongInput where OUTPUT belongs to another configuration, naming what differs.
    """
    there = read(output)
    if there is not None:
        refuse_other(output, there, fresh.configuration)
    account = there or fresh
    number = account.attempts + 1
    return account.model_copy(
        update={
            "state": "running",
            "attempts": number,
            "attempt_log": [*account.attempt_log, Attempt(attempt=number, started_at=started_at)],
        }
    )


def refuse_other(output: Path, account: Account, configuration: Mapping[str, str]) -> None:
    """Raise WrongInput where the account in `output` is of another configuration."""
    names = sorted({*account.configuration, *configuration})
    if differing := [n for n in names if account.configuration.get(n) != configuration.get(n)]:
        raise WrongInput(
            f"this output is of a run with another {', another '.join(differing)}",
            where=str(output),
            expected="one output for one configuration",
            next="choose another --output",
        )


def read(output: Path) -> Account | None:
    """The account in OUTPUT, None where there is none. Raises PromiseBroken where it is damaged."""
    value = read_run(output)
    if value is None:
        return None
    try:
        return Account.model_validate(value)
    except ValueError:
        raise PromiseBroken("not the account of a run", where=str(output / "run.json")) from None


def write(output: Path, account: Account) -> None:
    write_json(output, output / "run.json", account.model_dump())


def add_up(account: Account, receipts: Iterable[Receipt]) -> Account:
    """`account` with its totals from receipts, and the balance checked."""
    rows: Counter[str] = Counter()
    dispositions: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    usage, questions, slices = Usage(), 0, 0
    counted: Counter[str] = Counter()
    samples: dict[str, list[Tally]] = {"settled": [], "shared": []}
    cascade: Counter[str] = Counter()
    for receipt in receipts:
        counted.update({name: getattr(receipt, name) for name in _COUNTED})
        for kind, tally in receipt.samples.items():
            samples[kind].append(tally)
        rows.update(receipt.rows)
        cascade.update(receipt.cascade)
        dispositions.update(receipt.dispositions)
        settled.update(receipt.settled_by_rule)
        usage, questions, slices = usage + receipt.usage, questions + receipt.questions, slices + 1
    log = account.attempt_log
    return account.model_copy(
        update={
            **{name: rows[name] for name in ("rows_in", *OUTCOMES)},
            **asdict(usage),
            "balanced": rows["rows_in"] == sum(rows[name] for name in OUTCOMES),
            "slices": slices,
            **{name: counted[name] for name in _COUNTED},
            "samples": {kind: measured(tallies, shift=kind == "shared") for kind, tallies in samples.items()},
            "cascade": account.cascade | cascade,
            "questions": questions,
            "engine_seconds": sum(attempt.engine_seconds for attempt in log),
            "wall_seconds": sum(attempt.wall_seconds for attempt in log),
            "wasted_questions": max(0, sum(attempt.questions for attempt in log) - questions),
            "settled_by_rule": dict(sorted(settled.items())),
            "dispositions": {name: dispositions[name] for name in DISPOSITIONS},
        }
    )


def with_unreadable(account: Account, unreadable: Iterable[Unreadable]) -> Account:
    return account.model_copy(update={"unreadable": [asdict(item) for item in unreadable]})
