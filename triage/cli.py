"""The command line: parse, call, print. Nothing is decided here."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triage import __version__, job, pipeline
from triage.boundary import egress
from triage.custody import embedded, registry
from triage.custody.verify import verify as verify_weights
from triage.errors import ShardUnreadable, TriageError, WrongInput
from triage.records import Account
from triage.report import findings, machine, progress
from triage.report.escape import escaped
from triage.report.summary import summary
from triage.shards.around import around
from triage.shards.plan import shard_named
from triage.verdicts import account as accounts
from triage.verdicts import commit

out = Console(highlight=False, soft_wrap=False)
as_json = click.option("--json", "json_", is_flag=True, help="one JSON document on standard output")
PathArgument = click.Path(path_type=Path)


def main() -> NoReturn:
    """The program. Every failure is one line on standard error, or one JSON object, and its exit code."""
    egress.switch_off()
    try:
        cli.main(standalone_mode=False)
        code = 0
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as refusal:
        command = getattr(getattr(refusal, "ctx", None), "command_path", "triage")
        code = _fail(WrongInput(refusal.format_message().rstrip("."), where=command, next=f"{command} --help"))
    except click.Abort:
        code = _fail(TriageError("interrupted"))
    except TriageError as problem:
        code = _fail(problem)
    except BrokenPipeError:
        code = 0  # the reader of our output has seen enough
    except Exception as problem:
        code = _fail(_unforeseen(problem))
    sys.exit(code)


def _unforeseen(problem: Exception) -> TriageError:
    """A fault of ours, by its place alone: the text of an exception may quote what it was working on."""
    if os.environ.get("TRIAGE_DEBUG"):
        traceback.print_exception(problem)
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    return TriageError(
        f"{type(problem).__name__}, a fault of triage itself",
        where=f"{Path(frame.filename).name} line {frame.lineno}",
        next="report it; TRIAGE_DEBUG=1 prints the whole trace, which may hold log text",
    )


def _fail(problem: TriageError) -> int:
    if "--json" in sys.argv:
        print_json({"error": problem.as_dict()})
    else:
        click.echo(f"triage: {escaped(str(problem))}", err=True)
    return problem.exit_code


def print_json(value: object) -> None:
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode())


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="triage")
def cli() -> None:
    """Read log shards with a language model on your own machines and leave a verdict on every line."""


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
) -> pipeline.Run:
    return pipeline.load(job.load(job_file, inputs=inputs, output=output, model=model), limit_rows=limit_rows)


@cli.command()
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
        ended = attempt(loaded, lambda p: show(_standing(p)), retry_undecided=retry_undecided)
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


def _standing(p: Any) -> progress.Standing:
    usage = p.gauge.usage
    return progress.Standing(
        rows_prepared=p.rows_prepared,
        rows_committed=p.rows_committed,
        questions_known=p.questions_known,
        questions_answered=min(p.gauge.labels, p.questions_known),
        explanations_known=p.gauge.explanations_begun,
        explanations_answered=p.gauge.explanations,
        tokens=usage.prompt_tokens + usage.output_tokens,
        share_read=p.read_bytes / p.of_bytes if p.of_bytes else 1.0,
    )


@cli.command()
@_job_options
def plan(
    job_file: Path, inputs: tuple[str, ...], output: str | None, model: str | None, limit_rows: int | None, json_: bool
) -> None:
    """What would be read, kept and asked; nothing is run."""
    loaded = _load(job_file, inputs, output, model, limit_rows)
    planned = pipeline.plan(loaded)
    forecast, unreadable = pipeline.forecast(loaded, planned)
    problems = [*planned.unreadable, *unreadable]
    totals = {
        name: sum(row[name] for row in forecast.values())
        for name in ("rows", "quarantined", "settled", "ruled", "questions")
    }
    if json_:
        print_json(
            {
                "shards": forecast,
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
        for shard, row in forecast.items():
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


@cli.command()
@click.argument("output", type=PathArgument)
@as_json
def status(output: Path, json_: bool) -> None:
    """How far a run is, by its receipts."""
    account, receipts = _committed(output)
    account = accounts.add_up(account, receipts.values())
    if json_:
        print_json(account.model_dump())
    else:
        slices = f"{account.slices} slices committed in {account.attempts} attempt(s)"
        out.print(Text(f"run {account.run_id}: {account.state}, {slices}"))
        out.print(summary(account, output))


def _committed(output: Path) -> tuple[Account, dict[str, Any]]:
    account = accounts.read(output)
    if account is None:
        raise WrongInput("no run.json there", where=str(output), expected="the OUTPUT of a run")
    return account, commit.receipts(output)


@cli.command()
@click.argument("output", type=PathArgument)
@click.option("--disposition", type=click.Choice(findings.WORST_FIRST), help="only these")
@click.option("--limit", default=40, show_default=True, help="lines to show")
@as_json
def show(output: Path, disposition: str | None, limit: int, json_: bool) -> None:
    """The verdicts, worst first, one line a template with its count."""
    _, receipts = _committed(output)
    templates = findings.by_template(findings.scan_verdicts(output, list(receipts)), disposition)
    if json_:
        print_json(templates.head(limit).to_dicts())
        return
    if templates.is_empty():
        out.print("No verdicts" + (f" with disposition {disposition}." if disposition else "."))
        return
    out.print(findings.table_of(templates, limit))
    if templates.height > limit:
        out.print(f"… and {templates.height - limit:,} more templates (--limit {templates.height})", style="dim")
    out.print(Text(f"Next: triage explain {output} {templates['event_id'][0][: findings.ID_SHOWN]}", "dim"))


@cli.command()
@click.argument("output", type=PathArgument)
@click.argument("event_id")
@click.option("--around", "count", default=3, show_default=True, help="lines of the shard to show before and after")
@as_json
def explain(output: Path, event_id: str, count: int, json_: bool) -> None:
    """Everything behind one verdict, with the lines around it."""
    account, receipts = _committed(output)
    verdict = findings.find(findings.scan_verdicts(output, list(receipts)), event_id)
    receipt = next(r for r in receipts.values() if r.shard == verdict["shard"])
    try:
        neighbours = around(shard_named(verdict["shard"], receipt.shard_version), verdict["position"], count)
    except ShardUnreadable as problem:
        neighbours = []
        click.echo(f"triage: the lines around it cannot be shown: {escaped(str(problem))}", err=True)
    if json_:
        print_json(
            {
                **verdict,
                "rules": account.rules,
                "around": [{"position": p, "text": t} for p, t in neighbours],
                "model": account.model,
            }
        )
    else:
        out.print(findings.explained(verdict, account.rules, neighbours, account.model["name"]))


@cli.group()
def models() -> None:
    """The registry of models: what may be loaded."""


@models.command("list")
@as_json
def list_models(json_: bool) -> None:
    """The models there are."""
    entries = [registry.get(name) for name in registry.names()]
    if json_:
        print_json([asdict(entry) for entry in entries])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("name", "digest", "MiB", "licence", "approved for"):
        table.add_column(name)
    for entry in entries:
        approved = ", ".join(approval.purpose for approval in entry.approvals) or "nothing"
        cells = (entry.name, entry.digest[:12], f"{entry.size_bytes / 2**20:.0f}", entry.licence, approved)
        table.add_row(*(Text(escaped(cell)) for cell in cells))
    out.print(table if entries else f"No models in {registry.root()}.")


@models.command()
@click.argument("name")
@click.option(
    "--from", "source", type=PathArgument, help="a folder with a safetensors model; without it, the embedded model"
)
@click.option("--licence", default="not stated", help="the licence of the weights")
@click.option("--publisher", default="", help="who made them")
@click.option("--revision", default="", help="their version at the source")
@click.option(
    "--quantise/--no-quantise", default=None, help="embedded model: W8A8 int8 (by default where there is no GPU)"
)
@as_json
def add(
    name: str, source: Path | None, licence: str, publisher: str, revision: str, quantise: bool | None, json_: bool
) -> None:
    """Copy a model into the registry and record the SHA-256 of every file."""
    if source is None:
        entry = embedded.add(name, quantise=not Path("/dev/nvidiactl").exists() if quantise is None else quantise)
    else:
        entry = registry.add(
            name, source, origin=str(source.resolve()), revision=revision, licence=licence, publisher=publisher
        )
    _print_entry(entry, json_)
    if not entry.approvals and not json_:
        out.print(Text(f"Not approved yet: triage models approve {name} --by NAME --for PURPOSE", "yellow"))


@models.command("show")
@click.argument("name")
@as_json
def show_model(name: str, json_: bool) -> None:
    """What is recorded of a model."""
    _print_entry(registry.get(name), json_)


@models.command()
@click.argument("name")
@as_json
def verify(name: str, json_: bool) -> None:
    """Check every file of a model against its recorded SHA-256."""
    entry = registry.get(name)
    verify_weights(entry, registry.weights(name))
    if json_:
        print_json({"name": name, "digest": entry.digest, "files": len(entry.files), "verified": True})
    else:
        out.print(f"{name}: {len(entry.files)} files are as recorded, digest {entry.digest}")


@models.command()
@click.argument("name")
@click.option("--by", required=True, help="who approves it")
@click.option("--for", "purpose", required=True, help="for what")
@as_json
def approve(name: str, by: str, purpose: str, json_: bool) -> None:
    """Record that somebody allows a model for a purpose."""
    _print_entry(registry.approve(name, by, purpose), json_)


@models.command()
@click.argument("name")
@as_json
def revoke(name: str, json_: bool) -> None:
    """Take back all approvals of a model: no run loads it any more."""
    _print_entry(registry.revoke(name), json_)


def _print_entry(entry: registry.Entry, json_: bool) -> None:
    if json_:
        print_json(asdict(entry))
        return
    shown = asdict(entry) | {
        "files": "",
        "approvals": "; ".join(f"{a.purpose} (by {a.by}, {a.at})" for a in entry.approvals) or "none",
    }
    for name, value in shown.items():
        out.print(Text.assemble((f"{name:>12}  ", "dim"), escaped(str(value))), soft_wrap=True)
        if name == "files":
            for file, digest in entry.files.items():
                out.print(Text(f"              {digest}  {escaped(file)}"), soft_wrap=True)


@cli.command()
@as_json
def doctor(json_: bool) -> None:
    """What this machine can run, what listens, and what of the boundary holds here."""
    checks = [
        *machine.machine(),
        *_engine_check(),
        *_model_checks(),
        *machine.listening(),
        *machine.switches(egress.SWITCHES),
    ]
    if json_:
        print_json([{"what": what, "holds": holds, "how": how} for what, holds, how in checks])
        return
    mark = {True: ("✓", "green"), False: ("✗", "yellow"), None: ("·", "dim")}
    for what, holds, how in checks:
        out.print(Text.assemble(mark[holds], f" {what}: {escaped(how)}"), soft_wrap=True)


def _engine_check() -> Iterator[machine.Check]:
    from triage.engine.vllm import describe

    with _quiet():
        try:
            about = describe()
        except ImportError as problem:
            yield "engine", False, f"vLLM cannot be imported: {problem}"
            return
    yield "engine", True, f"{about['engine']} {about['version']}, torch {about['torch']}, on {about['device']}"


def _model_checks() -> Iterator[machine.Check]:
    for name in registry.names():
        entry = registry.get(name)
        approved = ", ".join(a.purpose for a in entry.approvals) or "nothing"
        try:
            verify_weights(entry, registry.weights(name))
            yield f"model {name}", True, f"{entry.digest[:12]}, as recorded; approved for {approved}"
        except TriageError as problem:
            yield f"model {name}", False, str(problem)
    if not registry.names():
        yield "models", False, f"none in {registry.root()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a library logs at import off the terminal."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
