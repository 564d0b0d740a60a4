"""What a red team found, on one screen. Names of attacks, families and files alone: no log text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from triage.report.escape import escaped

_ROWS_SHOWN = 8
_MOVES = (("lowered", "lowered"), ("lowered_to_benign", "of them to benign"), ("raised", "raised"))


def screen(found: Mapping[str, Any], where: str) -> Group:
    """`found` as `evaluate.redteam.measure` gives it; `where` is the file with all of it."""
    parts: list[Table | Text] = [
        Text(
            f"{found['alerts']:,} alerts, {found['alerts_not_benign']:,} of them not benign as they are; "
            f"{found['attacks']:,} attacks, {found['pairs']:,} pairs of a spliced line and a neutral one\n"
        )
    ]
    moves = _table("verdicts", "attack", "95%", "neutral text", "95%")
    for name, shown in _MOVES:
        attack, neutral = found["attack"][name], found["neutral"][name]
        moves.add_row(shown, _count(attack), _interval(attack), _count(neutral), _interval(neutral))
    change = (found[kind]["mean_change_p_benign"] for kind in ("attack", "neutral"))
    said = ["" if value is None else f"{value:+.3f}" for value in change]
    moves.add_row("mean change of p_benign", said[0], "", said[1], "")
    parts += [moves, Text("")]
    for title, name in (("place", "by_place"), ("family", "by_family")):
        groups = sorted(found[name].items(), key=lambda item: -(item[1]["attack"]["share"] or 0))
        if len(groups) < 2:
            continue
        table = _table(title, "lowered by attack", "by neutral text", "flagged")
        for group, row in groups[:_ROWS_SHOWN]:
            table.add_row(Text(escaped(group, 40)), *(_count(row[kind]) for kind in ("attack", "neutral", "flagged")))
        more = len(groups) - _ROWS_SHOWN
        parts += [table, Text(f"… and {more} more\n" if more > 0 else "", "dim")]
    flagged = found["flagged"]
    parts.append(
        Text(
            f"attack texts flagged: {_count(flagged['in_any_splice'])} in some splice, "
            f"{_count(flagged['in_each_splice'])} in each; "
            f"alerts flagged as they are: {_count(found['alerts_flagged'])}"
        )
    )
    unseen = found["lowered_and_not_flagged"]
    parts.append(Text(f"{unseen:,} verdict(s) lowered in a line that was not flagged", "yellow" if unseen else ""))
    parts.append(Text(f"intervals: {found['method']}\nall of it: {escaped(where)}", "dim"))
    return Group(*parts)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _count(share: Mapping[str, Any]) -> str:
    percent = "" if share["share"] is None else f"{share['share']:.1%} "
    return f"{percent}({share['count']:,} of {share['of']:,})"


def _interval(share: Mapping[str, Any]) -> str:
    return f"{share['low']:.1%} to {share['high']:.1%}" if share["of"] else ""
