"""What a run would read, keep and ask: `triage plan`."""

from __future__ import annotations

from collections import Counter

import polars as pl

from triage.errors import ShardUnreadable
from triage.pipeline import prepare
from triage.prefilter.sift import ASKED, CORRECTED, NOISE, RULED
from triage.records import Plan, Unreadable
from triage.run import Run

COLUMNS = ("rows", "quarantined", "settled", "ruled", "corrected", "known", "questions")


def forecast(run: Run, plan: Plan) -> tuple[dict[str, dict[str, int]], list[Unreadable]]:
    """What `prepare` would give for each shard: rows, quarantined, settled and ruled by rules, corrected, known (rows
    that memory answers), questions (each template once, in the first shard that asks it); and what could not be read.
    Reads everything, asks nothing, writes nothing."""
    counts: dict[str, Counter[str]] = {}
    unreadable = []
    asked: set[str] = set()
    for reading in plan.readings:
        tally = counts.setdefault(reading.shard.uri, Counter())
        try:
            for caseload in prepare(run, reading):
                outcomes = caseload.events["outcome"]
                known = caseload.events.filter(
                    pl.col("outcome") == ASKED,
                    pl.col("template_id").is_in([answer.template_id for answer in caseload.known]),
                )
                fresh = {question.template_id for question in caseload.questions} - asked
                asked |= fresh
                tally.update(
                    rows=caseload.rows_in,
                    quarantined=caseload.quarantine.height,
                    settled=int((outcomes == NOISE).sum()),
                    ruled=int((outcomes == RULED).sum()),
                    corrected=int((outcomes == CORRECTED).sum()),
                    known=known.height,
                    questions=len(fresh),
                )
        except ShardUnreadable as problem:
            unreadable.append(Unreadable(reading.shard.uri, problem.what))
    return {uri: {name: tally[name] for name in COLUMNS} for uri, tally in counts.items()}, unreadable
