"""`triage models ...`: the registry."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from triage.cli.printing import PathArgument, as_json, out, print_json
from triage.custody import embedded, registry
from triage.custody.verify import verify as verify_weights
from triage.report.escape import escaped


@click.group()
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
@click.option("--taught", type=PathArgument, help="embedded model: a folder with an adapter to merge into it")
@as_json
def add(
    name: str,
    source: Path | None,
    licence: str,
    publisher: str,
    revision: str,
    quantise: bool | None,
    taught: Path | None,
    json_: bool,
) -> None:
    """Copy a model into the registry and record the SHA-256 of every file."""
    if source is None:
        entry = embedded.add(
            name, quantise=not Path("/dev/nvidiactl").exists() if quantise is None else quantise, taught=taught
        )
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
