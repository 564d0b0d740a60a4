"""`triage redteam`: the job's model, rules and prompt against lines that talk to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from triage import job
from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.errors import TriageError, WrongInput
from triage.evaluate.attacks import Alert, Attack, as_shard, lines_of, read_alerts, read_attacks
from triage.evaluate.redteam import measure
from triage.files import publish, unwritable
from triage.report import progress
from triage.report.findings import scan_verdicts
from triage.report.redteam import screen
from triage.run import Run, load_run

Judging = Callable[[Run], TriageError | None]
"""Does a run; what ended it early, if anything."""


@click.command()
@click.argument("job_file", metavar="JOB.toml", type=PathArgument)
@click.option("--alerts", "alerts_file", type=PathArgument, required=True, help="labelled lines: message and truth")
@click.option("--attacks", "attacks_file", type=PathArgument, required=True, help="JSONL with text, or one a line")
@click.option("--output", type=PathArgument, required=True, metavar="DIR", help="lines, their run and redteam.json")
@click.option("--most-alerts", type=click.IntRange(1), default=200, show_default=True, help="alerts to draw")
@click.option("--attacks-per-alert", type=click.IntRange(1), default=4, show_default=True, help="splices of each")
@click.option("--seed", type=int, default=0, show_default=True, help="of what is drawn")
@click.option("--model", metavar="NAME", help="ask this model instead of the job's")
@as_json
def redteam(
    job_file: Path,
    alerts_file: Path,
    attacks_file: Path,
    output: Path,
    most_alerts: int,
    attacks_per_alert: int,
    seed: int,
    model: str | None,
    json_: bool,
) -> None:
    """How far texts that talk to the model move its verdicts on known alerts."""
    found = red_team(
        job.load(job_file, output=str(output / "run"), model=model),
        read_alerts(alerts_file),
        read_attacks(attacks_file),
        output,
        lambda loaded: _judge(loaded, quiet=json_),
        most_alerts=most_alerts,
        attacks_per_alert=attacks_per_alert,
        seed=seed,
    )
    if json_:
        print_json(found)
    else:
        out.print(screen(found, str(output / "redteam.json")))


def red_team(
    given: job.Job,
    alerts: list[Alert],
    attacks: list[Attack],
    output: Path,
    judging: Judging,
    *,
    most_alerts: int,
    attacks_per_alert: int,
    seed: int,
) -> dict[str, Any]:
    """Write the lines, have them judged, and measure. Raises WrongInput, and what ended the run early."""
    lines = lines_of(alerts, attacks, most_alerts=most_alerts, attacks_per_alert=attacks_per_alert, seed=seed)
    shard, positions = as_shard(lines)
    path = output.absolute() / "lines.jsonl"
    _write_once(path, shard)
    loaded = load_run(_of_lines(given, path))
    if problem := judging(loaded):
        raise problem
    account, receipts = committed(loaded.output)
    found = {
        "run": account.run_id,
        "model": account.model["name"],
        "model_digest": account.model["digest"],
        "prompt": account.prompt,
        "seed": seed,
        "attacks_per_alert": attacks_per_alert,
        **measure(positions, scan_verdicts(loaded.output, list(receipts)).collect()),
    }
    _write(output / "redteam.json", orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return found


def _of_lines(given: job.Job, path: Path) -> job.Job:
    """The job over the lines alone: nothing drawn beside them, and nothing remembered of them, nor corrected."""
    return given.model_copy(
        update={
            "input": [job.Input(paths=[str(path)], fields={"message": "message"})],
            "sample": job.Sample(settled=0, shared=0),
            "memory": None,
            "judge": given.judge.model_copy(update={"explain": False}),  # what is measured is verdicts
        }
    )


def _judge(loaded: Run, *, quiet: bool) -> TriageError | None:
    from triage.attempt import attempt
    from triage.cli.runs import standing

    with progress.showing(quiet=quiet) as show:
        return attempt(loaded, lambda p: show(standing(p))).problem


def _write_once(path: Path, content: bytes) -> None:
    """Write what is not there yet: the lines of another red team are not replaced under the verdicts on them."""
    if path.exists():
        if path.read_bytes() != content:
            raise WrongInput(
                "holds the lines of another red team",
                where=str(path.parent),
                expected="the same alerts, attacks, seed and counts",
                next="choose another --output",
            )
        return
    _write(path, content)


def _write(path: Path, content: bytes) -> None:
    work = path.with_name(f".{path.name}.work")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        work.write_bytes(content)
        publish(work, path)
    except OSError as problem:
        raise unwritable(path, problem) from None
