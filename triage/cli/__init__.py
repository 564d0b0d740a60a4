"""The command line: parse, call, print. Nothing is decided here."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from triage import __version__
from triage.boundary import egress
from triage.cli.calibrate import calibrate
from triage.cli.evaluation import compare, eval_
from triage.cli.looks import doctor, explain, show
from triage.cli.memory import correct, memory
from triage.cli.models import models
from triage.cli.printing import print_json
from triage.cli.redteam import redteam
from triage.cli.rules import rules
from triage.cli.runs import plan, run, status
from triage.errors import TriageError, WrongInput
from triage.report.escape import escaped


def main() -> NoReturn:
    """The program. Every failure is one line on standard error, or one JSON object, and its exit code."""
    egress.switch_off()
    try:
        code = cli.main(standalone_mode=False) or 0  # the code of a click Exit; commands themselves return nothing
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="triage")
def cli() -> None:
    """Read log shards with a language model on your own machines and leave a verdict on every line."""


for commands in (
    (run, plan, status, show, explain, correct, memory, rules, models, doctor),
    (eval_, compare, calibrate, redteam),
):
    for command in commands:
        cli.add_command(command)
