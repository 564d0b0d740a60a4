"""`triage eval` and `triage compare`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import polars as pl

from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.condense.template import condense
from triage.errors import WrongInput
from triage.evaluate.assess import assess
from triage.evaluate.compare import against, agreement, pair, settled_in_both
from triage.evaluate.finding import finding
from triage.evaluate.join import join, joined
from triage.evaluate.labels import read_labels
from triage.files import publish
from triage.records import Account
from triage.report import evaluation
from triage.report.evaluation_page import comparison_page, evaluation_page
from triage.report.findings import scan_verdicts

_html = click.option("--html", type=PathArgument, metavar="FILE", help="write one self-contained page there")
_seed = click.option("--seed", default=0, show_default=True, help="of the resamples and what is drawn")
_resamples = click.option(
    "--resamples", type=click.IntRange(0), default=1000, show_default=True, help="for intervals; 0: none"
)
_truth = click.option("--truth", metavar="COLUMN", help="the column of LABELS that says the truth")
_no_lines = click.option("--no-lines", is_flag=True, help="leave the text of lines out")


@click.command("eval")
@click.argument("output", type=PathArgument)
@click.argument("labels_file", metavar="LABELS", type=PathArgument)
@click.option("--by", multiple=True, metavar="COLUMN", help="group lines by this column too; may be repeated")
@_truth
@_html
@_no_lines
@click.option("--no-baselines", is_flag=True, help="do not count words or train the baseline")
@_seed
@_resamples
@as_json
def eval_(
    output: Path,
    labels_file: Path,
    by: tuple[str, ...],
    truth: str | None,
    html: Path | None,
    no_lines: bool,
    no_baselines: bool,
    seed: int,
    resamples: int,
    json_: bool,
) -> None:
    """How good the verdicts of OUTPUT are against LABELS (JSONL or Parquet)."""
    account, receipts = committed(output)
    labels = read_labels(labels_file, truth=truth, by=by)
    found = join(
        labels,
        scan_verdicts(output, list(receipts)),
        rows_settled=account.rows_settled,
        shards={receipt.shard for receipt in receipts.values()},
        template_ids=_template_ids,
    )
    document = {
        "output": str(output),
        "labels": str(labels_file),
        "run": _run(account),
        **assess(
            labels,
            found,
            by=by,
            rows_settled=account.rows_settled,
            resamples=resamples,
            seed=seed,
            with_baselines=not no_baselines,
            with_lines=not no_lines,
        ),
    }
    if html:
        _write(html, evaluation_page(document))
    if json_:
        print_json(document)
    else:
        out.print(evaluation.evaluated(document))


@click.command()
@click.argument("a", type=PathArgument)
@click.argument("b", type=PathArgument)
@click.argument("labels_file", metavar="[LABELS]", type=PathArgument, required=False)
@_truth
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="changed templates to show")
@_html
@_no_lines
@_seed
@_resamples
@as_json
def compare(
    a: Path,
    b: Path,
    labels_file: Path | None,
    truth: str | None,
    limit: int,
    html: Path | None,
    no_lines: bool,
    seed: int,
    resamples: int,
    json_: bool,
) -> None:
    """What two OUTPUTs over the same lines say differently, and with LABELS which is better."""
    labels = read_labels(labels_file, truth=truth) if labels_file else None
    (account_a, receipts_a), (account_b, receipts_b) = committed(a), committed(b)
    pairs = pair(
        scan_verdicts(a, list(receipts_a)),
        scan_verdicts(b, list(receipts_b)),
        rows_settled_a=account_a.rows_settled,
        rows_settled_b=account_b.rows_settled,
    )
    if pairs.lines.is_empty():
        raise WrongInput("the two have no line in common", where=f"{a} and {b}", expected="runs over the same lines")
    agreed = agreement(pairs, limit=limit, with_lines=not no_lines)
    held = None
    if labels:
        both_settled = min(account_a.rows_settled, account_b.rows_settled)
        found = joined(
            labels,
            pairs.lines.lazy(),
            settled_in_both() if both_settled else None,
            {receipt.shard for receipt in (*receipts_a.values(), *receipts_b.values())},
            _template_ids,
        )
        held = against(labels, found, resamples=resamples, seed=seed) | {"rows_settled": both_settled}
    document = {
        "finding": finding(agreed, held),
        "a": {"output": str(a), **_run(account_a), "cost": _cost(account_a)},
        "b": {"output": str(b), **_run(account_b), "cost": _cost(account_b)},
        "labels": str(labels_file) if labels_file else None,
        **agreed,
        "against_labels": held,
    }
    if html:
        _write(html, comparison_page(document))
    if json_:
        print_json(document)
    else:
        out.print(evaluation.compared(document))


def _template_ids(messages: pl.Series) -> pl.Series:
    """The templates that a run with the default level would give these messages."""
    events, _ = condense(messages.alias("message").to_frame(), "standard")
    return events["template_id"]


def _run(account: Account) -> dict[str, Any]:
    return {
        "run_id": account.run_id,
        "state": account.state,
        "model": account.model["name"],
        "model_digest": account.model["digest"],
        "prompt": account.prompt,
    }


def _cost(account: Account) -> dict[str, float | int | None]:
    counted = ("rows_in", "rows_settled", "questions", "prompt_tokens", "cached_tokens", "output_tokens")
    tokens, seconds = account.prompt_tokens + account.output_tokens, account.engine_seconds
    return {
        **{name: getattr(account, name) for name in counted},
        "engine_seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else None,
    }


def _write(page: Path, text: str) -> None:
    """The page, whole or not at all, for its owner alone: it may hold log text."""
    work = page.with_name(f".{page.name}-{os.getpid()}")
    try:
        descriptor = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        publish(work, page)
    except OSError as problem:
        work.unlink(missing_ok=True)
        raise WrongInput(
            f"cannot be written: {problem.strerror}", where=str(page), expected="a file in a folder that is there"
        ) from None
