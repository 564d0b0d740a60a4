"""`triage rules`."""

from __future__ import annotations

from dataclasses import asdict

import click

from triage.cli.printing import as_json, print_json
from triage.errors import WrongInput
from triage.prefilter.checks import check as check_rules
from triage.report.escape import escaped


@click.group()
def rules() -> None:
    """The rule files of a job."""


@rules.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@as_json
def check(paths: tuple[str, ...], json_: bool) -> None:
    """Load rule files and folders, with the built-in rules, and run every test that stands in them."""
    checked = check_rules(paths)
    if json_:
        print_json({**asdict(checked), "failed": [problem.as_dict() for problem in checked.failed]})
    else:
        for problem in checked.failed:
            click.echo(escaped(str(problem)))
        for where, rule_id in checked.untested:
            click.echo(escaped(f"{where}: rule {rule_id!r} has no test"))
        failed = f"{len(checked.failed)} failed" if checked.failed else "all hold"
        untested = f"; {len(checked.untested)} rules without a test" if checked.untested else ""
        counts = f"{checked.rules} rules, {checked.tests} tests of {checked.examples} examples"
        click.echo(f"{counts}: {failed}{untested}")
    if checked.failed:
        raise click.exceptions.Exit(WrongInput.exit_code)
