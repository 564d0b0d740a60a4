"""`triage eval` and `triage compare` on a terminal: one screen of their documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from triage.columns import DISPOSITIONS
from triage.report.escape import escaped
from triage.report.findings import ID_SHOWN, SHOWN_CHARACTERS, STYLE

Document = Mapping[str, Any]

HEADLINES: Final = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_area": "ROC area",
    "pr_area": "PR area",
    "escalate_roc_area": "escalate or review",
    "recall_at_1": "recall at worst 1%",
    "recall_at_5": "recall at worst 5%",
    "recall_at_20": "recall at worst 20%",
    "calibration_error": "calibration error",
    "brier": "Brier score",
}
BASELINES: Final = {"level": "level words", "tfidf": "TF-IDF"}
GROUP_COLUMNS: Final = {
    "precision": "precision",
    "recall": "recall",
    "roc_area": "ROC area",
    "recall_at_20": "recall at 20%",
}
UNITS: Final = ("lines", "templates")
GROUPS_SHOWN: Final = 10
MISSES_SHOWN: Final = 4

COST: Final = {
    "rows_in": "rows read",
    "rows_settled": "settled as benign by rules",
    "questions": "questions",
    "prompt_tokens": "prompt tokens",
    "cached_tokens": "of them from the prefix cache",
    "output_tokens": "output tokens",
    "engine_seconds": "engine seconds",
    "tokens_per_second": "tokens/s",
}


def plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def interval(figure: Document | None) -> str:
    """A figure with its interval, in as few characters as it takes."""
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return plain(figure["value"])
    between = "–" if figure["low"] >= 0 else " to "
    return f"{figure['value']:.3f} ({figure['low']:.2f}{between}{figure['high']:.2f})"


def joining(document: Document) -> Iterator[str]:
    """How labels met verdicts, and what was left out."""
    left = {
        "without an agreed truth": document["no_truth"],
        "ambiguous": document["ambiguous"],
        "contradicted by another label of the same line": document["conflicting"],
        "not found in the verdicts": document["not_found"] - document["not_found_as_settled"],
    }
    out = "; ".join(f"{count:,} {why}" for why, count in left.items() if count)
    yield (
        f"{document['labelled']:,} labelled lines (column {document['truth_column']}), joined on "
        f"{document['joined_on']}; left out: {out or 'none'}"
    )
    if settled := document["not_found_as_settled"]:
        yield (
            f"{settled:,} labelled lines have no verdict and count as benign and not shown: the run settled "
            f"{document['rows_settled']:,} rows as benign by rules"
        )
        if settled > document["rows_settled"]:
            yield "They are more than were settled: some of them were not in the run, and the figures are not sound."


def evaluated(document: Document) -> Group:
    """`triage eval` in one screen."""
    overall, baselines = document["overall"], document["baselines"]
    parts: list[RenderableType] = [Text(escaped(line)) for line in joining(document)]
    parts += [Text(_run_line(document["run"]), "dim"), "", _headlines(overall, baselines)]
    parts += [Text(_beside(BASELINES[name], found)) for name, found in baselines.items()]
    parts += ["", *_confusion(overall["lines"]["confusion"])]
    for name, groups in document["groups"].items():
        if len(groups) > 1:
            parts += ["", *_groups(name, groups)]
    if document["misses"]:
        for kind, words in (("missed", "should have been seen"), ("false_alarms", "shown for nothing")):
            if found := document["misses"][kind]:
                parts += ["", Text(f"{words} (--no-lines leaves this out)", "bold"), _misses(found)]
    parts += [
        "",
        Text(
            "precision, recall and F1 of what is shown: not benign, undecided too; at worst N%: reading that share by "
            "score; escalate or review: ROC area; calibration and Brier score: of p_review + p_escalate where "
            f"the model spoke ({overall['lines']['model_spoke']:,} lines); intervals: 95%, bootstrap over templates",
            "dim",
        ),
    ]
    return Group(*parts)


def _beside(name: str, found: Document) -> str:
    if "reason" in found:
        return f"{name}: {escaped(found['reason'])}"
    by = [f"{interval(found['above'][unit]['difference'])} by {unit}" for unit in UNITS]
    return f"ROC area above that of {name}: {', '.join(by)}"


def _run_line(run: Document) -> str:
    return escaped(f"run {run['run_id']}, model {run['model']} {run['model_digest'][:12]}, prompt {run['prompt']}")


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(columns):
        table.add_column(escaped(name), justify="left" if number < left else "right", no_wrap=True)
    return table


def _headlines(overall: Document, baselines: Document) -> Table:
    there = [name for name in baselines if "reason" not in baselines[name]]
    table = _table("", "lines", "templates", *(BASELINES[name] for name in there))
    truth = [(unit, overall[unit]["truth"]) for unit in UNITS]
    seen = [f"{overall[unit]['n']:,} ({sum(list(t.values())[1:]):,} to see)" for unit, t in truth]
    table.add_row("scored", *seen, *(f"{baselines[name]['lines']['n']:,}" for name in there), style="bold")
    for name, words in HEADLINES.items():
        table.add_row(
            words,
            *(interval(overall[unit][name]) for unit in UNITS),
            *(plain(baselines[base]["lines"][name]["value"]) for base in there),
        )
    return table


def _confusion(confusion: Document) -> list[RenderableType]:
    table = _table("truth \\ verdict, lines", *DISPOSITIONS)
    for name, row in confusion.items():
        table.add_row(name, *(f"{row[said]:,}" for said in DISPOSITIONS))
    return [table]


def _groups(name: str, groups: Document) -> list[RenderableType]:
    shown = sorted(groups, key=lambda group: (-groups[group]["lines"]["n"], group))[:GROUPS_SHOWN]
    table = _table(f"by {name}", "lines", "to see", "shown", *GROUP_COLUMNS.values())
    for group in shown:
        part = groups[group]["lines"]
        counts = (part["n"], sum(list(part["truth"].values())[1:]), part["shown"])
        table.add_row(
            Text(escaped(group, 32)),
            *(f"{count:,}" for count in counts),
            *(plain(part[column]["value"], 2) for column in GROUP_COLUMNS),
        )
    left = len(groups) - len(shown)
    return [table, Text(f"… and {left:,} more (--html and --json have all)", "dim")] if left else [table]


def _misses(misses: Sequence[Document]) -> Table:
    table = _lines_table("truth", "verdict", "rows", "score", "event")
    for row in misses[:MISSES_SHOWN]:
        table.add_row(
            row["truth"],
            Text(row["disposition"], STYLE[row["disposition"]]),
            f"{row['rows']:,}",
            plain(row["score"], 2),
            (row["event_id"] or "")[:ID_SHOWN],
            Text(escaped(row["message"] or "", SHOWN_CHARACTERS)),
        )
    return table


def _lines_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in columns:
        table.add_column(name, justify="right" if name in ("rows", "score") else "left", no_wrap=True)
    table.add_column("line (one of them)", no_wrap=True, overflow="ellipsis", ratio=1)
    return table


def pairing(document: Document) -> Iterator[str]:
    """How the two runs met, and how far they agree."""
    yield (
        f"{document['lines']:,} lines of {document['templates']:,} templates, joined on {document['joined_on']}: "
        f"{document['same']:,} verdicts are the same, {document['changed_lines']:,} lines of "
        f"{document['changed_templates']:,} templates changed"
    )
    for side, other in (("a", "B"), ("b", "A")):
        if count := document[f"only_{side}"]:
            settled = document[f"settled_in_{other.lower()}"]
            what = f"count as settled as benign in {other}" if settled else "are left out"
            yield f"{count:,} lines have a verdict in {side.upper()} only and {what}"
    if (shift := document["mean_abs_change_p_benign"]) is not None:
        yield f"p_benign differs by {shift:.4f} on average where the model spoke in both"


def compared(document: Document) -> Group:
    """`triage compare` in one screen."""
    parts: list[RenderableType] = [Text(document["finding"], "bold"), ""]
    for side in ("a", "b"):
        parts.append(Text(f"{side.upper()}: {escaped(document[side]['output'])}, {_run_line(document[side])}", "dim"))
    parts += [Text(line) for line in pairing(document)]
    against = document["against_labels"]
    if against:
        parts += [Text(escaped(line)) for line in joining(against)]
    parts += ["", _dispositions(document["dispositions"]), "", _costs(document["a"]["cost"], document["b"]["cost"])]
    parts += ["", *_tests(document)]
    if document["changed"]:
        parts += ["", _changed(document["changed"])]
        if left := document["changed_templates"] - len(document["changed"]):
            parts.append(Text(f"… and at least {left:,} more templates (--limit)", "dim"))
    return Group(*parts)


def _dispositions(dispositions: Document) -> Table:
    table = _table("A \\ B", *DISPOSITIONS)
    for said, row in dispositions.items():
        table.add_row(said, *(f"{row[other]:,}" for other in DISPOSITIONS))
    return table


def _costs(a: Document, b: Document) -> Table:
    table = _table("cost", "A", "B")
    for name, words in COST.items():
        table.add_row(words, *("–" if cost[name] is None else f"{cost[name]:,.0f}" for cost in (a, b)))
    return table


def exact_tests(document: Document) -> Iterator[tuple[str, Document]]:
    """The exact tests of a comparison, each with what it counts."""
    for unit in UNITS:
        yield f"shown, {unit}", document["shown"][unit]
    against = document["against_labels"]
    for kind, words in (("seen", "right to show"), ("exact", "right label")):
        if against and kind in against["correct"]:
            for unit in UNITS:
                yield f"{words}, {unit}", against["correct"][kind][unit]


def _tests(document: Document) -> list[RenderableType]:
    table = _table("", "A", "B", "A only", "B only", "p (McNemar, exact)")
    for words, row in exact_tests(document):
        table.add_row(words, *(f"{row[name]:,}" for name in ("a", "b", "only_a", "only_b")), f"{row['p']:.2g}")
    parts: list[RenderableType] = [table]
    if against := document["against_labels"]:
        for unit in UNITS:
            areas = against["roc_area"][unit]
            both = f"A {plain(areas['a']['value'])}, B {plain(areas['b']['value'])}"
            parts.append(Text(f"ROC area, {unit}: {both}, A minus B {interval(areas['difference'])}"))
    return parts


def _changed(changed: Sequence[Document]) -> Table:
    table = _lines_table("A", "B", "rows", "event")
    for row in changed:
        table.add_row(
            *(Text(row[name], STYLE[row[name]]) for name in ("disposition_a", "disposition_b")),
            f"{row['rows']:,}",
            (row["event_id"] or "")[:ID_SHOWN],
            Text(escaped(row.get("message") or "", SHOWN_CHARACTERS)),
        )
    return table
