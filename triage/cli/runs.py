"""`triage run`, `plan` and `status`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from triage import job, pipeline
from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.errors import ShardUnreadable
from triage.forecast import COLUMNS, forecast
from triage.report import progress
from triage.report.escape import escaped
from triage.report.summary import summary
from triage.run import Run, load_run
from triage.verdicts import account as accounts


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("job_file", metavar="JOB.toml", type=PathArgument),
        click.option(
            "--input",
            "inputs",
            multiple=True,
            metavar="PATH",
            help="read this instead of the job's paths; may be repeated",
        ),
        click.option("--output", metavar="DIR", help="write there instead"),
        click.option("--model", metavar="NAME", help="ask this model instead"),
        click.option("--limit-rows", type=int, metavar="N", help="only the first N rows, in plan order"),
        as_json,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _load(
    job_file: Path, inputs: tuple[str, ...], output: str | None, model: str | None, limit_rows: int | None
) -> Run:
    loaded = load_run(job.load(job_file, inputs=inputs, output=output, model=model), limit_rows=limit_rows)
    for rule_id, reason in loaded.sigma.refused:
        click.echo(f"triage: Sigma rule {escaped(rule_id)} is not run: {escaped(reason)}", err=True)
    if later := loaded.corrections_later:
        click.echo(
            f"triage: {later} correction(s) were made after the run in {loaded.output} began and are not in it; "
            "next: choose another --output to have them",
            err=True,
        )
    return loaded


@click.command()
@_job_options
@click.option("--retry-undecided", is_flag=True, help="do the slices that have undecided rows again")
def run(
    job_file: Path,
    inputs: tuple[str, ...],
    output: str | None,
    model: str | None,
    limit_rows: int | None,
    retry_undecided: bool,
    json_: bool,
) -> None:
    """Judge the job's shards; resume where an earlier start ended."""
    loaded = _load(job_file, inputs, output, model, limit_rows)
    from triage.attempt import attempt

    with progress.showing(quiet=json_) as show:
        ended = attempt(loaded, lambda p: show(standing(p)), retry_undecided=retry_undecided)
    if json_:
        error = ended.problem.as_dict() if ended.problem else None
        print_json({**ended.account.model_dump(), "did_nothing": ended.did_nothing, "error": error})
    else:
        if ended.did_nothing:
            out.print(f"Nothing to do: all {ended.account.slices} slices of this run are committed.")
        out.print(summary(ended.account, loaded.output))
        if ended.problem:
            click.echo(f"triage: {escaped(str(ended.problem))}", err=True)
            if logs := sorted((loaded.output / "logs").glob(f"engine-{ended.account.attempts}-*.log")):
                click.echo(f"triage: what vLLM and Ray printed: {logs[0]}", err=True)
    if ended.problem:
        raise click.exceptions.Exit(ended.problem.exit_code)


def standing(p: Any) -> progress.Standing:
    usage = p.gauge.usage
    return progress.Standing(
        rows_prepared=p.rows_prepared,
        rows_committed=p.rows_committed,
        questions_known=p.questions_known,
        questions_answered=min(p.gauge.labels + p.gauge.repeats, p.questions_known),
        explanations_known=p.gauge.explanations_begun,
        explanations_answered=p.gauge.explanations,
        tokens=usage.prompt_tokens + usage.output_tokens,
        share_read=p.read_bytes / p.of_bytes if p.of_bytes else 1.0,
    )


@click.command()
@_job_options
def plan(
    job_file: Path, inputs: tuple[str, ...], output: str | None, model: str | None, limit_rows: int | None, json_: bool
) -> None:
    """What would be read, kept and asked; nothing is run."""
    loaded = _load(job_file, inputs, output, model, limit_rows)
    planned = pipeline.plan(loaded)
    expected, unreadable = forecast(loaded, planned)
    problems = [*planned.unreadable, *unreadable]
    totals = {name: sum(row[name] for row in expected.values()) for name in COLUMNS}
    if json_:
        print_json(
            {
                "shards": expected,
                "totals": totals,
                "unreadable": [asdict(u) for u in problems],
                "output": str(loaded.output),
                "model": loaded.model.name,
            }
        )
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("shard", overflow="fold")
        for name in totals:
            table.add_column(name, justify="right")
        for shard, row in expected.items():
            table.add_row(Text(escaped(_short(shard))), *(f"{row[name]:,}" for name in totals))
        table.add_row(Text("all", "bold"), *(f"{count:,}" for count in totals.values()))
        out.print(table)
        out.print(Text(f"\nmodel {loaded.model.name} {loaded.model.digest[:12]}; would write to {loaded.output}"))
        for item in problems:
            click.echo(f"triage: {escaped(item.shard)}: {item.reason}", err=True)
    if problems:
        raise click.exceptions.Exit(ShardUnreadable.exit_code)


def _short(path: str) -> str:
    """A path below the working folder, relative to it."""
    here = f"{Path.cwd()}/"
    return path.removeprefix(here)


@click.command()
@click.argument("output", type=PathArgument)
@as_json
def status(output: Path, json_: bool) -> None:
    """How far a run is, by its receipts."""
    account, receipts = committed(output)
    account = accounts.add_up(account, receipts.values())
    if json_:
        print_json(account.model_dump())
    else:
        slices = f"{account.slices} slices committed in {account.attempts} attempt(s)"
        out.print(Text(f"run {account.run_id}: {account.state}, {slices}"))
        out.print(summary(account, output))
