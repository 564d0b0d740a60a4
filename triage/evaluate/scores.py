"""What a verdict says for ranking: how much an analyst should see its line, from 0 to 1.

Where the model spoke it is `p_review + p_escalate`. A rule that stands above it lifts it to at least
`ALONE[disposition]`, which is also the score where a rule or an analyst decided without the model. Undecided is even
odds, and is shown.
"""

from __future__ import annotations

from typing import Final

import polars as pl

ALONE: Final = {"benign": 0.0, "review": 0.9, "escalate": 1.0, "undecided": 0.5}

SCORED: Final = {
    "disposition": pl.String(),
    "shown": pl.Boolean(),
    "score": pl.Float64(),
    "p_seen": pl.Float64(),  # p_review + p_escalate; null where no model spoke
    "p_worse": pl.Float64(),  # p_escalate / (p_review + p_escalate); null where no model spoke
}
"""What is said of a line beside its truth; see `figures`."""

SETTLED: Final = {"disposition": "benign", "shown": False, "score": 0.0, "p_seen": None, "p_worse": None}
"""The same of a line that a rule settled as benign, which left no verdict."""


def scored(verdicts: pl.LazyFrame) -> pl.LazyFrame:
    """`verdicts` with the columns of SCORED."""
    alone = pl.col("disposition").replace_strict(ALONE, return_dtype=pl.Float64)
    seen = (pl.col("p_review") + pl.col("p_escalate")).clip(0.0, 1.0)  # rounding may leave a little more than one
    by_rule = pl.col("decided_by") == "rule"
    by_model = pl.col("decided_by").is_in(["model", "memory"]) & (pl.col("disposition") != "undecided")
    return verdicts.with_columns(
        shown=pl.col("disposition") != "benign",
        score=pl.when(by_model)
        .then(seen.fill_null(alone))
        .when(by_rule)
        .then(pl.max_horizontal(seen, alone))
        .otherwise(alone),
        p_seen=seen,
        # Both zero: the model says nothing of which of the two it is.
        p_worse=pl.when(seen > 0).then((pl.col("p_escalate") / seen).clip(0.0, 1.0)).when(seen == 0).then(0.5),
    )
