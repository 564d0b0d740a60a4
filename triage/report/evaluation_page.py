"""`triage eval` and `triage compare` as pages. Log text stands in the tables of lines alone, escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from triage.columns import DISPOSITIONS
from triage.report.evaluation import (
    BASELINES,
    COST,
    GROUP_COLUMNS,
    HEADLINES,
    UNITS,
    exact_tests,
    interval,
    joining,
    pairing,
    plain,
)
from triage.report.findings import SHOWN_CHARACTERS
from triage.report.page import Markup, cell, figure_cell, page, paragraph, section, table
from triage.report.plots import Series, plot, side_by_side

Document = Mapping[str, Any]

_METHOD: Final = (
    "Shown: every verdict but benign; undecided lines are shown. An analyst should see a line whose truth is review or "
    "escalate. A template is one row: the worst truth and verdict of its lines, and the mean of their scores.",
    "The score that ranks lines is p_review + p_escalate where the model spoke, at least 0.9 (review) or 1 (escalate) "
    "where a rule stands above it; a rule or an analyst alone gives 0, 0.9 or 1; undecided is 0.5. Ties count as their "
    "expectation under random order.",
    "Intervals are 95% percentile intervals of a bootstrap over templates, so that copies of a line are not counted as "
    "evidence; an interval of the calibration error leans upward, as resampling adds noise to it. Calibration error "
    "and Brier score are of p_review + p_escalate where the model spoke, in ten bins of equal weight.",
    "Recall at worst 1, 5 and 20%: the share of what should be seen that stands in that share of lines, read by score. "
    "Escalate or review: the ROC area of p_escalate / (p_review + p_escalate) among lines whose truth is either.",
    "Level words: how many words such as error, denied or attack stand in a line. TF-IDF: logistic regression on "
    "character 2-5-grams, trained on other groups than those it judges.",
)


def evaluation_page(document: Document) -> str:
    """The page of one OUTPUT against its labels."""
    run, overall, baselines = document["run"], document["overall"], document["baselines"]
    parts = [
        paragraph(
            f"{document['output']} against {document['labels']}; run {run['run_id']} ({run['state']}), model "
            f"{run['model']} {run['model_digest'][:12]}, prompt {run['prompt']}",
            "dim",
        ),
        *(paragraph(line) for line in joining(document)),
        section("Figures", _headlines(overall, baselines), *_no_baselines(baselines)),
        section(
            "Truth and verdict",
            *(
                table(
                    ("truth", *DISPOSITIONS),
                    (
                        [cell(name, "left"), *(cell(f"{row[said]:,}") for said in DISPOSITIONS)]
                        for name, row in overall[unit]["confusion"].items()
                    ),
                    caption=unit,
                )
                for unit in UNITS
            ),
        ),
        section("Curves, per line", _plots(document)),
    ]
    for name, groups in document["groups"].items():
        parts.append(section(f"By {name}", _groups(name, groups)))
    if document["misses"]:
        parts.append(section("Worst misses", *_misses(document["misses"])))
    parts.append(section("How this was measured", *(paragraph(line, "dim") for line in _METHOD)))
    return page("Evaluation of verdicts", *parts)


def _figure(figure: Document) -> Markup:
    value, _, after = interval(figure).partition(" ")
    return figure_cell(value, after)


def _headlines(overall: Document, baselines: Document) -> Markup:
    there = [name for name in baselines if "reason" not in baselines[name]]
    columns = ["", *UNITS, *(f"{BASELINES[name]}, {unit}" for name in there for unit in UNITS)]
    sets = [overall[unit] for unit in UNITS] + [baselines[name][unit] for name in there for unit in UNITS]

    def rows() -> Iterator[list[Markup]]:
        yield [cell("scored", "left"), *(cell(f"{one['n']:,}") for one in sets)]
        yield [cell("to be seen", "left"), *(cell(f"{_to_see(one):,}") for one in sets)]
        yield [cell("shown", "left"), *(cell(f"{one['shown']:,}") for one in sets)]
        for name, words in HEADLINES.items():
            yield [cell(words, "left"), *(_figure(one[name]) for one in sets)]
        if there:
            above = [_figure(baselines[name]["above"][unit]["difference"]) for name in there for unit in UNITS]
            yield [cell("ROC area above theirs", "left"), cell(""), cell(""), *above]

    return table(columns, rows())


def _to_see(figures: Document) -> int:
    return sum(list(figures["truth"].values())[1:])


def _no_baselines(baselines: Document) -> Iterator[Markup]:
    for name, found in baselines.items():
        if "reason" in found:
            yield paragraph(f"{BASELINES[name]}: {found['reason']}", "dim")


def _plots(document: Document) -> Markup:
    curves = {"verdicts": document["curves"]["lines"]}
    for name, found in document["baselines"].items():
        if "curves" in found:
            curves[BASELINES[name]] = found["curves"]["lines"]
    bins = [
        one
        for one in document["overall"]["lines"]["reliability"]
        if one["p_seen"] is not None and one["seen"] is not None
    ]
    reliable = Series(
        "verdicts, ten bins of equal weight", [(b["p_seen"], b["seen"]) for b in bins], [b["n"] for b in bins]
    )
    return side_by_side(
        plot(
            "ROC curve",
            [Series(name, one["roc"]) for name, one in curves.items()],
            across="share of benign lines shown",
            up="share of real lines shown",
        ),
        plot(
            "Recall against reading budget",
            [Series(name, one["budget"]) for name, one in curves.items()],
            across="share of lines read, worst first",
            up="share of real lines seen",
        ),
        plot("Reliability", [reliable], across="p_review + p_escalate", up="share that should be seen"),
    )


def _groups(name: str, groups: Document) -> Markup:
    columns = (name, "lines", "templates", "to see", "shown", *GROUP_COLUMNS.values())
    rows = (
        [
            cell(group, "left"),
            cell(f"{part['lines']['n']:,}"),
            cell(f"{part['templates']['n']:,}"),
            cell(f"{_to_see(part['lines']):,}"),
            cell(f"{part['lines']['shown']:,}"),
            *(_figure(part["lines"][column]) for column in GROUP_COLUMNS),
        ]
        for group, part in groups.items()
    )
    return table(columns, rows, caption="Per line. ROC area where both classes are there.")


def _misses(misses: Document) -> Iterator[Markup]:
    for kind, words in (("missed", "Should have been seen and was not"), ("false_alarms", "Shown and benign")):
        if misses[kind]:
            yield table(
                ("truth", "verdict", "by", "rows", "score", "line (one of them)"),
                (
                    [
                        *(cell(row[name], "left") for name in ("truth", "disposition", "decided_by")),
                        cell(f"{row['rows']:,}"),
                        cell(plain(row["score"], 2)),
                        cell(_line(row), "line"),
                    ]
                    for row in misses[kind]
                ),
                caption=f"{words}; one line a template, the worst first.",
                left=(0, 1, 2, 5),
            )


def _line(row: Document) -> str:
    message = row.get("message") or "(not known)"
    return message if len(message) <= SHOWN_CHARACTERS else message[: SHOWN_CHARACTERS - 1] + "…"


def comparison_page(document: Document) -> str:
    """The page of two OUTPUTs side by side."""
    a, b, held = document["a"], document["b"], document["against_labels"]
    parts = [
        paragraph(document["finding"], "finding"),
        *(
            paragraph(
                f"{name}: {one['output']}; run {one['run_id']} ({one['state']}), model {one['model']} "
                f"{one['model_digest'][:12]}, prompt {one['prompt']}",
                "dim",
            )
            for name, one in (("A", a), ("B", b))
        ),
        *(paragraph(line) for line in pairing(document)),
        *(paragraph(line) for line in (joining(held) if held else ())),
        section("Verdicts of A and of B", _dispositions(document["dispositions"])),
        section("Is one of them better?", _tests(document), *([_areas(held["roc_area"])] if held else [])),
        section("What each cost", _costs(a["cost"], b["cost"])),
    ]
    if document["changed"]:
        parts.append(section("What changed", _changed(document["changed"])))
    return page("Two runs compared", *parts)


def _dispositions(dispositions: Document) -> Markup:
    return table(
        ("A \\ B", *DISPOSITIONS),
        (
            [cell(said, "left"), *(cell(f"{row[other]:,}") for other in DISPOSITIONS)]
            for said, row in dispositions.items()
        ),
        caption="lines",
    )


def _tests(document: Document) -> Markup:
    return table(
        ("", "A", "B", "A only", "B only", "p (McNemar, exact)"),
        (
            [
                cell(words, "left"),
                *(cell(f"{row[name]:,}") for name in ("a", "b", "only_a", "only_b")),
                cell(f"{row['p']:.2g}"),
            ]
            for words, row in exact_tests(document)
        ),
    )


def _areas(areas: Document) -> Markup:
    return table(
        ("ROC area", "A", "B", "A minus B"),
        ([cell(unit, "left"), *(_figure(areas[unit][name]) for name in ("a", "b", "difference"))] for unit in UNITS),
        caption="with 95% intervals, both resampled together over templates",
    )


def _costs(a: Document, b: Document) -> Markup:
    return table(
        ("", "A", "B"),
        (
            [cell(words, "left"), *(cell("–" if one[name] is None else f"{one[name]:,.0f}") for one in (a, b))]
            for name, words in COST.items()
        ),
    )


def _changed(changed: Sequence[Document]) -> Markup:
    with_lines = "message" in changed[0]
    return table(
        ("A", "B", "rows", "event", *(["line (one of them)"] if with_lines else [])),
        (
            [
                cell(row["disposition_a"], "left"),
                cell(row["disposition_b"], "left"),
                cell(f"{row['rows']:,}"),
                cell((row["event_id"] or "")[:10], "left"),
                *([cell(_line(row), "line")] if with_lines else []),
            ]
            for row in changed
        ),
        caption="one line a template, the most urgent first",
        left=(0, 1, 3, 4),
    )
