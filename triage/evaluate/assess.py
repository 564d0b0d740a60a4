"""One OUTPUT held against its labels: everything `triage eval` says, as one JSON document.

Terminal and page show this document and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import polars as pl

from triage.errors import WrongInput
from triage.evaluate import baselines
from triage.evaluate.compare import roc_difference
from triage.evaluate.figures import Document, both, curves, templates_of
from triage.evaluate.join import Joined
from triage.evaluate.labels import BY, Labels

OF_VERDICTS: Final = ("shard", "host", "decided_by")
"""Columns of verdicts that lines may be grouped by, beside those of labels."""
MISSES: Final = 20


def assess(
    labels: Labels,
    joined: Joined,
    *,
    by: Sequence[str] = (),
    rows_settled: int,
    resamples: int,
    seed: int,
    with_baselines: bool = True,
    with_lines: bool = True,
) -> Document:
    """The document. Lines are grouped `by` columns of labels or verdicts, else by what the labels have, else by shard;
    the first grouping also cuts the baselines' folds. Raises WrongInput for a column that neither has."""
    lines, groupings = joined.lines, list(by or labels.groupings or OF_VERDICTS[:1])
    for name in groupings:
        if BY + name in lines.columns:
            continue
        if name not in OF_VERDICTS:
            near = get_close_matches(name, (*labels.columns, *OF_VERDICTS), n=1)
            raise WrongInput(
                f"no column {name!r} in the labels",
                where="--by",
                expected=f"a column of the labels, or {', '.join(OF_VERDICTS)}",
                next=f"did you mean {near[0]!r}?" if near else "",
            )
        lines = lines.with_columns(pl.col(name).fill_null("(none)").alias(BY + name))
    classes = labels.classes
    how: dict[str, Any] = {"resamples": resamples, "seed": seed}
    return {
        "truth_column": labels.truth_column,
        "classes": list(classes),
        "joined_on": joined.on,
        "labelled": labels.labelled,
        "no_truth": labels.no_truth,
        "ambiguous": labels.ambiguous,
        "conflicting": joined.conflicting,
        "not_found": joined.not_found,
        "not_found_as_settled": joined.settled,
        "rows_settled": rows_settled,
        **how,
        "overall": both(lines, classes, **how),
        "groups": {name: _groups(lines, BY + name, classes, how) for name in groupings},
        "baselines": _baselines(lines, BY + groupings[0], classes, how) if with_baselines else {},
        "curves": {"lines": curves(lines), "templates": curves(templates_of(lines))},
        "misses": _misses(lines, classes, BY + groupings[0]) if with_lines else None,
    }


def _groups(lines: pl.DataFrame, column: str, classes: Sequence[str], how: dict[str, Any]) -> dict[str, Document]:
    parts = lines.partition_by(column, as_dict=True, maintain_order=True)
    return {str(name): both(parts[(name,)], classes, **how) for (name,) in sorted(parts, key=lambda key: str(key[0]))}


def _baselines(lines: pl.DataFrame, group: str, classes: Sequence[str], how: dict[str, Any]) -> Document:
    """Each baseline on the same lines (those whose message is known): its figures, its curves, and by how much the
    verdicts' ROC area is above its own."""
    known = lines.filter(pl.col("message").is_not_null())
    if known.is_empty():
        return {name: {"reason": "no message is known"} for name in ("level", "tfidf")}
    # Copies of a text teach nothing and are judged alike, so each is taken once.
    texts = known.unique(["message", group], keep="first", maintain_order=True)
    counted = baselines.level(texts["message"].to_list())
    found = {"level": _baseline(known, _as_scores(texts, group, counted, counted > 0), classes, how)}
    truth = texts["truth"].to_numpy().astype(np.intp)
    trained = baselines.tfidf(
        texts["message"].to_list(),
        truth if len(classes) > 2 else truth > 0,
        texts[group].to_list(),
        seed=how["seed"],
    )
    if trained.probabilities is None:
        return found | {"tfidf": {"reason": trained.reason}}
    p = trained.probabilities
    seen = p if p.ndim == 1 else p[:, 1:].sum(axis=1).clip(0.0, 1.0)
    worse = np.full(seen.shape, 0.5) if p.ndim == 1 else np.where(seen > 0, p[:, 2] / np.maximum(seen, 1e-12), 0.5)
    said = _as_scores(texts, group, seen, seen >= 0.5, worse.clip(0.0, 1.0))
    return found | {"tfidf": {"folds": trained.folds} | _baseline(known, said, classes, how)}


def _as_scores(texts: pl.DataFrame, group: str, score: Any, shown: Any, worse: Any = None) -> pl.DataFrame:
    nothing = pl.lit(None, pl.Float64)
    said = texts.select("message", group, score=pl.Series(score), shown=pl.Series(shown))
    return said.with_columns(
        disposition=pl.when("shown").then(pl.lit("review")).otherwise(pl.lit("benign")),
        p_seen=nothing if worse is None else pl.col("score"),
        p_worse=nothing if worse is None else pl.Series(worse),
    )


def _baseline(known: pl.DataFrame, said: pl.DataFrame, classes: Sequence[str], how: dict[str, Any]) -> Document:
    on = [column for column in said.columns if column == "message" or column.startswith(BY)]
    scores = [column for column in said.columns if column not in on]
    lines = known.drop(scores).join(said, on=on, how="left", maintain_order="left")
    figures = both(lines, classes, **how)
    for part in figures.values():
        del part["confusion"]  # a baseline says whether to show a line, not what it is
    ours = lines.with_columns(known["score"].alias("score_a")).rename({"score": "score_b"})
    by_template = ours.group_by("template_id", maintain_order=True).agg(
        pl.col("truth").max(), pl.col("score_a", "score_b").mean()
    )
    return {
        **figures,
        "curves": {"lines": curves(lines), "templates": curves(templates_of(lines))},
        "above": {"lines": roc_difference(ours, **how), "templates": roc_difference(by_template, **how)},
    }


def _misses(lines: pl.DataFrame, classes: Sequence[str], group: str) -> Document:
    """One row a template: what should have been seen and was not, and what was shown for nothing; the worst first."""
    names = pl.col("truth").replace_strict(dict(enumerate(classes)), return_dtype=pl.String)
    said = lines.with_columns(truth_rank=pl.col("truth"), truth=names, group=pl.col(group))

    def worst(some: pl.DataFrame, *order: pl.Expr) -> list[dict[str, Any]]:
        shown = ("truth", "disposition", "score", "decided_by", "event_id", "group", "message", "truth_rank")
        return (
            some.group_by("template_id", maintain_order=True)
            .agg(pl.len().alias("rows"), pl.col(*shown).first())
            .sort(*order, -pl.col("rows").cast(pl.Int64), "template_id")
            .head(MISSES)
            .drop("truth_rank")
            .to_dicts()
        )

    real = pl.col("truth_rank") > 0
    return {
        "missed": worst(said.filter(real & ~pl.col("shown")), -pl.col("truth_rank"), pl.col("score")),
        "false_alarms": worst(said.filter(~real & pl.col("shown")), -pl.col("score")),
    }
