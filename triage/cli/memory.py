"""`triage correct` and `triage memory ...`."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click
import polars as pl
from rich.table import Table
from rich.text import Text

from triage.cli.printing import PathArgument, as_json, committed, out, print_json
from triage.columns import LABELS, Label
from triage.condense import corrections
from triage.condense.memory import Memory, oldest, open_memory
from triage.errors import WrongInput
from triage.report import findings
from triage.report.escape import escaped

DAYS = 90


@click.command()
@click.argument("output", type=PathArgument)
@click.argument("event_id")
@click.argument("disposition", type=click.Choice(LABELS))
@click.option("--because", required=True, help="the reason; it stands in the verdicts")
@click.option("--by", help="whose verdict it is  [default: the user who runs this]")
@click.option("--days", default=DAYS, show_default=True, help="for how long it is in force")
@as_json
def correct(
    output: Path, event_id: str, disposition: str, because: str, by: str | None, days: int, json_: bool
) -> None:
    """Overrule a verdict, from the next run on, for every event of the same template.

    Only a correction lowers what a rule decided."""
    account, receipts = committed(output)
    if account.memory is None:
        raise WrongInput(
            "the run had no memory, where corrections are kept",
            where=str(output),
            next='give the job [memory] path = "...", run it, and correct that run\'s verdict',
        )
    verdict = findings.find(findings.scan_verdicts(output, list(receipts)), event_id)
    made = corrections.correct(
        _memory(Path(account.memory)),
        verdict["template_id"],
        cast(Label, disposition),
        because=because,
        by=by or getpass.getuser(),
        days=days,
    )
    if json_:
        print_json({**asdict(made), "was": verdict["disposition"], "template_id": verdict["template_id"]})
        return
    rows = findings.scan_verdicts(output, list(receipts)).filter(template_id=verdict["template_id"])
    count = rows.select(pl.len()).collect().item()
    out.print(
        Text(
            f"{verdict['disposition']} becomes {disposition} for the template of {count:,} row(s) here, by "
            f"{escaped(made.by)}, until {made.until:%Y-%m-%d}: {escaped(made.because)}"
        )
    )
    out.print(
        Text(f"Correction {made.id}. Verdicts that are written stay; the next run with this memory has it.", "dim")
    )


@click.group()
def memory() -> None:
    """Answers already paid for, and corrections."""


@memory.command("show")
@click.argument("folder", metavar="MEMORY", type=PathArgument)
@click.option("--corrections", "only_corrections", is_flag=True, help="the corrections, each with who, when and why")
@as_json
def show_memory(folder: Path, only_corrections: bool, json_: bool) -> None:
    """What a memory holds: counts by model and prompt, or its corrections."""
    held = _memory(folder)
    if only_corrections:
        _show_corrections(held, json_)
        return
    rows, refused = held.read_answers()
    sound = held.sound(rows)
    groups = (
        rows.filter(sound)
        .group_by("model_digest", "prompt_digest")
        .agg(
            pl.len().alias("answers"),
            pl.col("judged_in").n_unique().alias("runs"),
            pl.col("judged_at").min().alias("oldest"),
            pl.col("judged_at").max().alias("newest"),
        )
        .sort("newest", "model_digest", "prompt_digest", descending=[True, False, False])
    )
    made, unsound = corrections.read_corrections(held)
    now = datetime.now(UTC)
    told = {
        "answers": int(sound.sum()),
        "corrections": len(made),
        "in_force": len(corrections.in_force(made, now)),
        "refused": int((~sound).sum()) + refused + unsound,
        "files": len(held.files("answers")),
        "bytes": sum(file.stat().st_size for file in held.files("answers")),
    }
    if json_:
        print_json({"memory": str(folder), **told, "by_model_and_prompt": groups.to_dicts()})
        return
    out.print(
        Text(
            f"{told['answers']:,} answers in {told['files']} file(s), {told['bytes'] / 2**20:,.1f} MiB; "
            f"{told['corrections']} correction(s), {told['in_force']} in force"
        )
    )
    if told["refused"]:
        out.print(
            Text(
                f"{told['refused']} row(s) or file(s) are not sound: they are never used; prune drops them", "bold red"
            )
        )
    if groups.height:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("answers", "runs", "oldest", "newest", "model", "prompt"):
            table.add_column(name, justify="right" if name in ("answers", "runs") else "left")
        for row in groups.iter_rows(named=True):
            days = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("oldest", "newest"))
            digests = (row["model_digest"][:12], row["prompt_digest"][:12])
            table.add_row(f"{row['answers']:,}", f"{row['runs']:,}", *days, *digests)
        out.print(table)


def _show_corrections(held: Memory, json_: bool) -> None:
    made, unsound = corrections.read_corrections(held)
    active = {correction.id for correction in corrections.in_force(made, datetime.now(UTC))}
    if json_:
        listed = [asdict(correction) | {"in_force": correction.id in active} for correction in made]
        print_json({"corrections": listed, "refused": unsound})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("correction", "verdict", "by", "made", "until", "because"):
        table.add_column(name, overflow="fold", no_wrap=name != "because")
    for c in reversed(made):
        until = f"{c.until:%Y-%m-%d}" if c.id in active else "not in force"
        cells = (c.disposition, escaped(c.by), f"{c.at:%Y-%m-%d %H:%M}", until, escaped(c.because))
        table.add_row(c.id, *map(Text, cells), style="" if c.id in active else "dim")
    out.print(table if made else "No corrections.")
    if unsound:
        out.print(Text(f"{unsound} file(s) are not sound corrections: they are never used", "bold red"))


@memory.command()
@click.argument("folder", metavar="MEMORY", type=PathArgument)
@click.option("--max-age-days", type=click.IntRange(min=0), help="drop also answers that are older")
@as_json
def prune(folder: Path, max_age_days: int | None, json_: bool) -> None:
    """Drop answers that are not sound or too old."""
    held = _memory(folder)
    after = oldest(datetime.now(UTC), max_age_days) if max_age_days is not None else None

    def keep(rows: pl.DataFrame) -> pl.Series:
        sound = held.sound(rows)
        return sound & (rows["judged_at"] >= after) if after else sound

    _say_dropped(held.rewrite(keep), json_)


@memory.command()
@click.argument("folder", metavar="MEMORY", type=PathArgument)
@click.option("--run", "run_id", help="what this run asked")
@click.option("--model", help="what these weights said (the digest, or its beginning)")
@click.option("--prompt", help="what was asked with this prompt (the digest, or its beginning)")
@click.option("--correction", "correction_id", help="this correction")
@click.option("--all", "everything", is_flag=True, help="every answer; corrections stay")
@as_json
def forget(
    folder: Path,
    run_id: str | None,
    model: str | None,
    prompt: str | None,
    correction_id: str | None,
    everything: bool,
    json_: bool,
) -> None:
    """Drop the answers that meet every option given, or take a correction back."""
    held = _memory(folder)
    begins = {"judged_in": run_id, "model_digest": model, "prompt_digest": prompt}
    given = {column: start for column, start in begins.items() if start}
    if bool(given) + bool(correction_id) + everything != 1:
        raise WrongInput(
            "what is to be forgotten is not clear",
            where="triage memory forget",
            expected="--run, --model and --prompt (one or more), or --correction, or --all",
        )
    if correction_id:
        corrections.forget(held, correction_id)
        if json_:
            print_json({"forgotten": correction_id})
        else:
            out.print(f"Correction {correction_id} is taken back.")
        return

    def keep(rows: pl.DataFrame) -> pl.Series:
        hit = pl.Series([True]).new_from_index(0, rows.height)
        for column, start in given.items():
            hit = hit & rows[column].str.starts_with(start)
        return ~hit

    _say_dropped(held.rewrite(keep), json_)


def _say_dropped(count: int, json_: bool) -> None:
    if json_:
        print_json({"dropped": count})
    else:
        out.print(f"{count:,} answer(s) dropped.")


def _memory(folder: Path) -> Memory:
    held = open_memory(folder, create=False)
    if held is None:
        raise WrongInput("no memory there", where=str(folder), expected="the folder that [memory] path names")
    return held
