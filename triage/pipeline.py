"""The story of a run in plain calls.

    plan     shards -> slices
    prepare  slice  -> caseload   read . condense . look up corrections . sift (rules) . sample . recall (memory)
    judge    questions -> answers label . explain (only what is not benign) . validate
    settle   answers -> receipt   remember . fan out to every event . commit

`plan` runs once, the other three once a slice. `cluster` runs these same functions over Ray and adds nothing.
Condensing comes before rules, since corrections are of templates and stand above rules.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from triage.columns import DISPOSITIONS
from triage.condense import corrections, template
from triage.condense.memory import Memory, Recalled, oldest
from triage.condense.slots import quoted
from triage.engine import explain as explain_pass
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.generate import Engine
from triage.prefilter import rules as rule_files
from triage.prefilter.sample import SETTLED, SHARED, draw, weight
from triage.prefilter.sift import ASKED, NOISE, sift
from triage.records import (
    Answer,
    Caseload,
    Explanation,
    Judgement,
    Plan,
    Question,
    Reading,
    Receipt,
    Tally,
    Usage,
)
from triage.run import Run
from triage.shards.plan import plan as plan_shards
from triage.shards.read import read
from triage.shards.rows import SliceRows
from triage.verdicts import validate
from triage.verdicts.commit import commit
from triage.verdicts.fan_out import Deciding, Provenance, RuleFacts, fan_out
from triage.verdicts.measured import tallied


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
        questions=tuple(Question(name, text) for name, text in texts.items() if name not in known),
        texts=texts,
        only_sampled=frozenset(texts.keys() - known - set(asked["template_id"])),
        memory_refused=recalled.refused,
        samples=samples,
        prepare_seconds=time.monotonic() - started,
    )


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


Shared = MutableMapping[str, "asyncio.Task[Answer]"]
"""The questions that an engine was asked in a run, by template, answered or in flight."""
MOST_SHARED = 1_000_000  # of about a kilobyte; the oldest is forgotten, and asked again where it comes up again


async def judge(
    run: Run, questions: Sequence[Question], prompt: prompts.Prompt, engine: Engine, shared: Shared | None = None
) -> Judgement:
    """Act three: an answer to every question, all in flight at once. What is in `shared` is not asked again. Raises
    EngineLost."""
    started = time.monotonic()
    shared = {} if shared is None else shared
    fresh = {question.template_id for question in questions if question.template_id not in shared}
    for question in questions:
        if question.template_id in fresh:
            shared[question.template_id] = asyncio.create_task(_answer(run, question, prompt, engine))
    answers = await asyncio.gather(*(shared[question.template_id] for question in questions))
    while len(shared) > MOST_SHARED:
        del shared[next(iter(shared))]
    return Judgement(
        tuple(answer if answer.template_id in fresh else replace(answer, usage=Usage(), asked=0) for answer in answers),
        time.monotonic() - started,
    )


async def _answer(run: Run, question: Question, prompt: prompts.Prompt, engine: Engine) -> Answer:
    labelled = await label_pass.label(question.text, prompt, engine, max_windows=run.job.judge.max_windows)
    if labelled.probabilities is None:
        return Answer(question.template_id, None, labelled.reason, None, labelled.usage, labelled.asked)
    said = validate.disposition(labelled.probabilities, run.thresholds)
    told: Explanation | None = None
    usage = labelled.usage
    if said != "benign":
        completion = await explain_pass.explain(labelled.window, said, prompt, engine)
        told = validate.explanation(completion.text, finished=completion.finished)
        usage = usage + completion.usage
    return Answer(question.template_id, labelled.probabilities, None, told, usage, labelled.asked)


def settle(run: Run, caseload: Caseload, judgement: Judgement) -> Receipt:
    """Act four: every event's verdict, written and committed. Raises PromiseBroken where rows do not balance, and
    Stopped where output or memory cannot be written."""
    started = time.monotonic()
    if memory := run.memory():
        memory.remember(run.scope, f"{run.run_id}-{caseload.slice_id}", run.run_id, judgement.answers, caseload.texts)
    answers = {answer.template_id: answer for answer in (*caseload.known, *judgement.answers)}
    deciding = Deciding(
        answers,
        {
            rule.id: RuleFacts(rule.settle or rule.raise_, rule.severity, rule.category, rule.because)
            for rule in run.every_rule
        },
        {correction.id: correction for correction in run.corrections},
        run.thresholds,
        Provenance(run.run_id, run.model.digest, run.prompt.digest),
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
