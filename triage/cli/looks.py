"""`triage show`, `explain` and `doctor`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.text import Text

from triage.boundary import egress
from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.custody import registry
from triage.custody.verify import verify
from triage.errors import ShardUnreadable, TriageError
from triage.report import findings, machine
from triage.report.escape import escaped
from triage.shards.around import around
from triage.shards.plan import shard_named


@click.command()
@click.argument("output", type=PathArgument)
@click.option("--disposition", type=click.Choice(findings.WORST_FIRST), help="only these")
@click.option("--limit", default=40, show_default=True, help="lines to show")
@as_json
def show(output: Path, disposition: str | None, limit: int, json_: bool) -> None:
    """The verdicts, worst first, one line a template with its count."""
    _, receipts = committed(output)
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


@click.command()
@click.argument("output", type=PathArgument)
@click.argument("event_id")
@click.option("--around", "count", default=3, show_default=True, help="lines of the shard to show before and after")
@as_json
def explain(output: Path, event_id: str, count: int, json_: bool) -> None:
    """Everything behind one verdict, with the lines around it."""
    account, receipts = committed(output)
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
        out.print(findings.explained(verdict, account, neighbours))


@click.command()
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
            verify(entry, registry.weights(name))
            yield f"model {name}", True, f"{entry.digest[:12]}, as recorded; approved for {approved}"
        except TriageError as problem:
            yield f"model {name}", False, str(problem)
    if not registry.names():
        yield "models", False, f"none in {registry.root()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a library logs at import off the terminal."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
