"""What all commands share: the console, `--json`, and reading the OUTPUT of a run."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.console import Console

from triage.errors import WrongInput
from triage.records import Account, Receipt
from triage.verdicts import account as accounts
from triage.verdicts import commit

out = Console(highlight=False, soft_wrap=False)
as_json = click.option("--json", "json_", is_flag=True, help="one JSON document on standard output")
PathArgument = click.Path(path_type=Path)


def print_json(value: object) -> None:
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode())


def committed(output: Path) -> tuple[Account, dict[str, Receipt]]:
    account = accounts.read(output)
    if account is None:
        raise WrongInput("no run.json there", where=str(output), expected="the OUTPUT of a run")
    return account, commit.receipts(output)
