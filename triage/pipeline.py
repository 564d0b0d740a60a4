"""The story of a run in plain calls.

    plan     shards -> slices
    prepare  slice  -> caseload   read . condense . look up corrections . sift (rules) . sample . recall (memory)
    judge    questions -> answers label . explain (only what is not benign) . validate
    settle   answers -> receipt   remember . fan out to every event . commit

`plan` runs once, the other three once a slice; `judge` has a module of its own. `cluster` runs these same functions
over Ray and adds nothing. Condensing comes before rules, since corrections are of templates and stand above rules.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from triage.columns import DISPOSITIONS
from triage.condense import corrections, template
from triage.condense.memory import Memory, Recalled, oldest
from triage.condense.slots import quoted
from triage.judge import Shared, agreement, judge
from triage.prefilter import rules as rule_files
from triage.prefilter import suspect
from triage.prefilter.sample import SETTLED, SHARED, draw, weight
from triage.prefilter.sift import ASKED, NOISE, sift
from triage.records import Caseload, Judgement, Plan, Question, Reading, Receipt, Tally, Usage
from triage.run import Run
from triage.shards.plan import plan as plan_shards
from triage.shards.read import read
from triage.shards.rows import SliceRows
from triage.verdicts.commit import commit
from triage.verdicts.fan_out import Deciding, Provenance, RuleFacts, fan_out
from triage.verdicts.measured import tallied

__all__ = ["Shared", "judge", "plan", "prepare", "settle"]


def plan(run: Run) -> Plan:
    """Act one: the readings of the job, each once, in a fixed order."""
    return plan_shards(
        run.job.input,
        slice_bytes=run.job.run.slice_bytes,
        max_record_bytes=run.job.run.max_record_bytes,
        limit_rows=run.limit_rows,
        tested=rule_files.sources(run.rules),
    )


def prepare(run: Run, reading: Reading, done: Collection[str] = ()) -> Iterator[Caseload]:
    """Act two: the caseloads of `reading`, but for the slices in `done`. Raises ShardUnreadable."""
    pieces = read(reading, slice_bytes=run.job.run.slice_bytes, max_record_bytes=run.job.run.max_record_bytes)
    follows: str | None = None
    while True:
        started = time.monotonic()
        rows = next(pieces, None)
        if rows is None:
            return
        slice_id = rows.slice.id(run.digest)
        if slice_id not in done:
            yield _caseload(run, slice_id, follows, rows, started)
        follows = slice_id


def _caseload(run: Run, slice_id: str, follows: str | None, rows: SliceRows, started: float) -> Caseload:
    memory = run.memory()
    events, templates = template.condense(rows.events, run.job.condense.level)
    events = corrections.corrected(events, templates, run.corrections, memory)
    events = sift(events, run.rules, run.sigma)
    events, samples = _sampled(run, rows, events, templates)
    asked = events.filter(outcome=ASKED)
    drawn = events.filter(sampled=SETTLED)
    alone = events.filter(sampled=SHARED)
    ids = {*asked["template_id"], *drawn["template_id"]}
    texts = {
        **{
            template_id: text
            for template_id, text in templates.select("template_id", "template").iter_rows()
            if template_id in ids
        },
        **dict(alone.select("own_id", "message").iter_rows()),
    }
    recalled = _recall(run, memory, texts)
    known = {answer.template_id for answer in recalled.answers}
    return Caseload(
        slice=rows.slice,
        slice_id=slice_id,
        last=rows.last,
        follows=follows,
        rows_in=rows.rows_in,
        events=events,
        quarantine=rows.quarantine,
        known=recalled.answers,
        questions=_questions({name: text for name, text in texts.items() if name not in known}),
        texts=texts,
        only_sampled=frozenset(texts.keys() - known - set(asked["template_id"])),
        memory_refused=recalled.refused,
        samples=samples,
        prepare_seconds=time.monotonic() - started,
    )


def _questions(texts: Mapping[str, str]) -> tuple[Question, ...]:
    framed = suspect.framings(pl.Series(list(texts.values()), dtype=pl.String))
    return tuple(Question(*asked, framings) for asked, framings in zip(texts.items(), framed, strict=True))


def _sampled(
    run: Run, rows: SliceRows, events: pl.DataFrame, templates: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, Tally]]:
    """`events` with `sampled` (settled, shared or null) and `own_id` (the question of an event that is judged on its
    own), and what the samples stand for."""
    given, shard = run.job.sample, rows.slice.shard
    texts = events.select("template_id").join(templates, on="template_id", how="left", maintain_order="left")
    candidates = {
        SETTLED: (events["outcome"] == NOISE, given.settled),
        SHARED: ((events["outcome"] == ASKED) & (events["message"] != texts["template"]), given.shared),
    }
    drawn, tallies = {}, {}
    for kind, (some, rate) in candidates.items():
        seed = f"{given.seed} {kind} {shard.identity} {rows.slice.start}"
        drawn[kind] = draw(some, rate, given.most_per_slice, seed)
        count = int(some.sum())
        tallies[kind] = Tally(count, weight=weight(count, int(drawn[kind].sum()), rate, given.most_per_slice))
    own = pl.Series(
        "own_id",
        [
            template.template_id(message, "exact") if alone else None
            for message, alone in zip(events["message"], drawn[SHARED], strict=True)
        ],
        dtype=pl.String,
    )
    kinds = pl.when(drawn[SETTLED]).then(pl.lit(SETTLED)).when(drawn[SHARED]).then(pl.lit(SHARED))
    return events.with_columns(own, sampled=kinds.otherwise(None)), tallies


def _recall(run: Run, memory: Memory | None, texts: dict[str, str]) -> Recalled:
    if memory is None or run.job.memory is None:
        return Recalled((), 0)
    return memory.recall(
        run.scope,
        texts,
        after=oldest(run.attempt_began, run.job.memory.max_age_days),
        before=run.attempt_began,
        run_id=run.run_id,
        since=run.began,
    )


def settle(run: Run, caseload: Caseload, judgement: Judgement) -> Receipt:
    """Act four: every event's verdict, written and committed. Raises PromiseBroken where rows do not balance, and
    Stopped where output or memory cannot be written."""
    started = time.monotonic()
    if memory := run.memory():
        memory.remember(run.scope, f"{run.run_id}-{caseload.slice_id}", run.run_id, judgement.answers, caseload.texts)
    answers = {
        answer.template_id: replace(answer, probabilities=run.stages[answer.stage].calibrated(answer.probabilities))
        if answer.probabilities
        else answer
        for answer in (*caseload.known, *judgement.answers)
    }
    deciding = Deciding(
        answers,
        {
            rule.id: RuleFacts(rule.settle or rule.raise_, rule.severity, rule.category, rule.because)
            for rule in run.every_rule
        },
        {correction.id: correction for correction in run.corrections},
        run.thresholds,
        Provenance(
            run.run_id,
            tuple(
                (stage.model.digest, stage.prompt.digest, stage.calibration.digest if stage.calibration else None)
                for stage in run.stages
            ),
        ),
    )
    verdicts, counts, settled_by_rule = fan_out(caseload, deciding, quoted)
    tally = dict(verdicts.group_by("disposition").len().iter_rows())
    shard = caseload.slice.shard
    receipt = Receipt(
        slice_id=caseload.slice_id,
        shard=shard.uri,
        shard_version=shard.version,
        start=caseload.slice.start,
        stop=caseload.slice.stop,
        last=caseload.last,
        follows=caseload.follows,
        rows={"rows_in": caseload.rows_in, **counts},
        dispositions={name: tally.get(name, 0) for name in DISPOSITIONS},
        settled_by_rule=settled_by_rule,
        questions=sum(answer.asked for answer in judgement.answers),
        sample_questions=sum(a.asked for a in judgement.answers if a.template_id in caseload.only_sampled),
        templates_from_memory=len(caseload.known),
        memory_refused=caseload.memory_refused,
        samples=tallied(caseload, answers, run.thresholds),
        cascade=agreement(judgement.answers, answers, run.thresholds) if run.job.cascade else {},
        usage=sum((answer.usage for answer in judgement.answers), Usage()),
        prepare_seconds=caseload.prepare_seconds,
        judge_seconds=judgement.judge_seconds,
        settle_seconds=time.monotonic() - started,
        files={},
        run_id=run.run_id,
        attempt=run.attempt,
        committed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return commit(run.output, receipt, verdicts, caseload.quarantine)
