"""Verdicts as a person reads them: worst first, one line a template, and everything behind one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from triage.columns import VERDICTS
from triage.errors import WrongInput
from triage.records import Account
from triage.report.escape import escaped

WORST_FIRST: Final = ("escalate", "review", "undecided", "benign")
STYLE: Final = {"escalate": "bold red", "review": "yellow", "undecided": "magenta", "benign": "green"}
ID_SHOWN: Final = 10
SHOWN_CHARACTERS: Final = 400


def scan_verdicts(output: Path, slice_ids: Sequence[str]) -> pl.LazyFrame:
    """The verdicts of the committed slices."""
    files = [output / "verdicts" / f"{slice_id}.parquet" for slice_id in slice_ids]
    return pl.scan_parquet(files) if files else pl.LazyFrame(schema=VERDICTS)


def by_template(verdicts: pl.LazyFrame, disposition: str | None) -> pl.DataFrame:
    """One row for each template and disposition, worst first: the most urgent disposition, then the most certain."""
    if disposition:
        verdicts = verdicts.filter(disposition=disposition)
    urgency = pl.col("p_review").fill_null(0) + 2 * pl.col("p_escalate").fill_null(0)
    return (
        verdicts.with_columns(urgency=urgency)
        .group_by("disposition", "template_id")
        .agg(
            pl.len().alias("rows"),
            pl.col("urgency").max(),
            pl.col(
                "event_id",
                "severity",
                "category",
                "confidence",
                "decided_by",
                "rule_ids",
                "reason",
                "injection_suspected",
                "message",
            )
            .sort_by("urgency", "event_id", descending=[True, False])
            .first(),
        )
        .sort(
            pl.col("disposition").replace_strict({name: rank for rank, name in enumerate(WORST_FIRST)}),
            pl.col("decided_by") != "rule",
            -pl.col("urgency"),
            -pl.col("rows").cast(pl.Int64),
            "event_id",
        )
        .collect()
    )


def table_of(templates: pl.DataFrame, limit: int) -> Table:
    """The first `limit` rows of `by_template` as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name, width in (("verdict", 9), ("rows", 6), ("sure", 4), ("by", 12), ("event", ID_SHOWN)):
        side: Literal["left", "right"] = "right" if name in ("rows", "sure") else "left"
        table.add_column(name, justify=side, no_wrap=True, min_width=width)
    table.add_column("line (one of them)", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in templates.head(limit).iter_rows(named=True):
        flag = "⚑ " if row["injection_suspected"] else ""
        by = row["rule_ids"][0] if row["decided_by"] == "rule" else row["decided_by"]
        table.add_row(
            Text(row["disposition"], STYLE[row["disposition"]]),
            f"{row['rows']:,}",
            f"{row['confidence']:.0%}" if row["decided_by"] != "rule" and row["confidence"] is not None else "",
            Text(escaped(by, 18)),
            row["event_id"][:ID_SHOWN],
            Text(flag + escaped(row["message"], SHOWN_CHARACTERS)),
        )
    return table


def find(verdicts: pl.LazyFrame, event_id: str) -> dict[str, Any]:
    """The one verdict whose id begins with `event_id`. Raises WrongInput where there is none, or more."""
    found = verdicts.filter(pl.col("event_id").str.starts_with(event_id)).head(2).collect()
    if found.height != 1:
        raise WrongInput(
            f"{'no' if found.is_empty() else 'more than one'} verdict with the event id {event_id}",
            expected="an event id as `triage show` prints it, or more of it",
            next="events that a rule settled as benign have no verdict" if found.is_empty() else "",
        )
    return found.row(0, named=True)


def explained(verdict: dict[str, Any], account: Account, around: Sequence[tuple[int, str]]) -> Group:
    """One verdict with what it rests on and the lines around it."""
    because, corrections, model = account.rules, account.corrections, account.model["name"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(justify="right", style="dim", no_wrap=True)
    facts.add_column(overflow="fold")

    def say(name: str, value: object, style: str = "") -> None:
        if value not in (None, "", []):
            facts.add_row(name, Text(escaped(str(value)), style))

    say("verdict", verdict["disposition"], STYLE[verdict["disposition"]])
    say("severity", verdict["severity"])
    say("category", verdict["category"])
    say("event", verdict["event_id"])
    say("shard", f"{verdict['shard']} at {verdict['position']}")
    say("host", verdict["host"])
    say("time", verdict["timestamp"])
    say("message", verdict["message"])
    say("decided by", verdict["decided_by"])
    for rule_id in verdict["rule_ids"]:
        say("rule", f"{rule_id}: {because.get(rule_id, 'not in the rules of this version')}")
    say("tags", ", ".join(verdict["tags"]))
    if verdict["p_benign"] is not None:
        names = ("benign", "review", "escalate")
        say("probability", ", ".join(f"{name} {verdict[f'p_{name}']:.3f}" for name in names))
        say("margin", f"{verdict['margin']:.3f}")
    say("rationale", verdict["rationale"])
    for words in verdict["evidence"]:
        say("evidence", f"“{words}”")
    if verdict["evidence_dropped"]:
        say("dropped", f"{verdict['evidence_dropped']} quotation(s) that are not in the line")
    say("next step", verdict["next_step"])
    say("suspected", "the line may be talking to the model" if verdict["injection_suspected"] else None)
    say("reason", verdict["reason"])
    hosts = f" of {verdict['template_hosts']} host(s)" if verdict["template_hosts"] else ""
    say("template", f"{verdict['template_id']}, {verdict['template_rows']} row(s){hosts} in its slice")
    if verdict["template_first"] != verdict["template_last"]:
        say("from, to", f"{verdict['template_first']}, {verdict['template_last']}")
    if made := corrections.get(verdict["correction"] or ""):
        say("correction", f"{verdict['correction']} by {made['by']}, {made['at']}, until {made['until']}")
    if verdict["model_digest"]:
        say("model", f"{model}, weights {verdict['model_digest']}")
        say("prompt", verdict["prompt_digest"])
        say("calibration", verdict["calibration_digest"])
    if verdict["decided_by"] == "memory":
        say("asked in", f"run {verdict['judged_in']}; its rationale, if it gave one, stands in that run's output")
    say("run", f"{verdict['run_id']}, judged {verdict['judged_at']:%Y-%m-%d %H:%M:%S} UTC")
    nearby = Table.grid(padding=(0, 2))
    nearby.add_column(justify="right", style="dim", no_wrap=True)
    nearby.add_column(overflow="fold")
    for position, text in around:
        here = position == verdict["position"]
        nearby.add_row(
            f"{'> ' if here else ''}{position}", Text(escaped(text, SHOWN_CHARACTERS), "bold" if here else "")
        )
    return Group(facts, Text("\nthe lines around it", "dim"), nearby) if around else Group(facts)
