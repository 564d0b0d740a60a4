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
from collections import Counter
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import polars as pl

from triage.columns import DISPOSITIONS
from triage.condense import corrections, mask, template
from triage.condense.memory import Memory, Recalled, Scope, oldest, open_memory
from triage.custody import registry
from triage.engine import explain as explain_pass
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.generate import SAMPLING, Engine
from triage.errors import ShardUnreadable, WrongInput
from triage.job import Job
from triage.prefilter import rules as rule_files
from triage.prefilter.sample import SETTLED, SHARED, draw, weight
from triage.prefilter.sift import ASKED, CORRECTED, NOISE, RULED, Settling, sift
from triage.prefilter.sigma import Ruleset
from triage.records import (
    Answer,
    Caseload,
    Correction,
    Explanation,
    Judgement,
    Plan,
    Question,
    Reading,
    Receipt,
    Tally,
    Unreadable,
    Usage,
    digest_of,
)
from triage.shards.plan import plan as plan_shards
from triage.shards.read import read
from triage.shards.rows import SliceRows
from triage.verdicts import account as accounts
from triage.verdicts import validate
from triage.verdicts.commit import commit
from triage.verdicts.fan_out import Deciding, Provenance, RuleFacts, fan_out
from triage.verdicts.measured import tallied
from triage.verdicts.validate import Thresholds


@dataclass(frozen=True)
class Run:
    """A job with everything it names loaded: what each act needs, picklable, the same on every worker."""

    job: Job
    rules: tuple[rule_files.Rule, ...]
    prompt: prompts.PromptFile
    model: registry.Entry
    sigma: Ruleset = field(default_factory=Ruleset)
    corrections: tuple[Correction, ...] = ()
    corrections_later: int = 0  # made after the run began: not in force in it
    limit_rows: int | None = None
    run_id: str = ""
    attempt: int = 1
    began: datetime = field(default_factory=lambda: datetime.now(UTC))  # the first attempt: corrections as of then
    attempt_began: datetime = field(default_factory=lambda: datetime.now(UTC))  # memory as of then

    @property
    def output(self) -> Path:
        return Path(self.job.output.path)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.job.judge.review_at, self.job.judge.escalate_at)

    @property
    def every_rule(self) -> tuple[Settling, ...]:
        return (*self.rules, *self.sigma.rules)

    def memory(self, *, create: bool = False) -> Memory | None:
        """The memory that the job names, None where it names none. Raises WrongInput."""
        return open_memory(Path(self.job.memory.path), create=create) if self.job.memory else None

    def configuration(self) -> dict[str, str]:
        """Digests of all that a verdict depends on beside its shard, each under the name a person would look for."""
        return {
            **self._asked_with(),
            "rules": digest_of([rule.model_dump(by_alias=True) for rule in self.rules]),
            "sigma rules": digest_of(self.sigma.identity()),
            "corrections": digest_of(sorted(correction.id for correction in self.corrections)),
            "judge": digest_of(self.job.judge.model_dump()),
            "sample": digest_of(self.job.sample.model_dump()),
            "input fields": digest_of([table.fields for table in self.job.input]),
            "slices": digest_of([self.job.run.slice_bytes, self.job.run.max_record_bytes, self.limit_rows]),
        }

    def _asked_with(self) -> dict[str, str]:
        """The part of it that the answer to a question depends on. Thresholds do not belong to it: they come later."""
        return {
            "model": self.model.digest,
            "prompt": self.prompt.digest,
            "answer schema": digest_of(explain_pass.SCHEMA),
            "sampling": digest_of([SAMPLING, explain_pass.ANSWER_TOKENS]),
            "masks": digest_of([mask.VERSION, *map(list, mask.MASKS), self.job.condense.level]),
            "context": digest_of([self.job.model.max_model_len, self.job.judge.max_windows]),
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.configuration())

    @cached_property
    def scope(self) -> Scope:
        return Scope(digest_of(self._asked_with()), self.model.digest, self.prompt.digest)


def load(job: Job, *, limit_rows: int | None = None) -> Run:
    """Load what `job` names. Raises WrongInput for anything that is not there, not sound or not approved."""
    if "://" in job.output.path:
        raise WrongInput("OUTPUT is not on a file system", where=job.output.path, expected="a local or mounted folder")
    if limit_rows is not None and limit_rows < 1:
        raise WrongInput(f"--limit-rows {limit_rows}", expected="1 or more")
    run = Run(
        job=job,
        rules=(rules := rule_files.load(job.prefilter.rules)),
        sigma=_sigma(job, rules),
        prompt=prompts.load(job.judge.prompt),
        model=registry.require_approval(registry.get(job.model.name)),
        limit_rows=limit_rows,
    )
    there = accounts.read(run.output)
    if there:
        run = replace(run, began=datetime.fromisoformat(there.started_at))
    memory = run.memory()
    if memory is None:
        return run
    known, _ = corrections.read_corrections(memory)
    return replace(
        run,
        corrections=corrections.in_force(known, run.began),
        corrections_later=sum(correction.at > run.began for correction in known),
    )


def _sigma(job: Job, rules: Sequence[rule_files.Rule]) -> Ruleset:
    if not job.prefilter.sigma:
        return Ruleset()
    from triage.prefilter import sigma_compile  # pySigma is loaded only where there are Sigma rules

    found = sigma_compile.load(job.prefilter.sigma)
    if both := {rule.id for rule in rules} & {rule.id for rule in found.rules}:
        raise WrongInput(f"id {min(both)!r} is used twice", where="[prefilter] sigma", expected="another id")
    return found


def plan(run: Run) -> Plan:
    """Act one: the readings of the job, each once, in a fixed order."""
    return plan_shards(
        run.job.input,
        slice_bytes=run.job.run.slice_bytes,
        max_record_bytes=run.job.run.max_record_bytes,
        limit_rows=run.limit_rows,
    )


def forecast(run: Run, plan: Plan) -> tuple[dict[str, dict[str, int]], list[Unreadable]]:
    """What `prepare` would give for each shard: rows, quarantined, settled and ruled by rules, corrected, known (rows
    that memory answers), questions (each template once, in the first shard that asks it); and what could not be read.
    Reads everything, asks nothing, writes nothing."""
    columns = ("rows", "quarantined", "settled", "ruled", "corrected", "known", "questions")
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
    return {uri: {name: tally[name] for name in columns} for uri, tally in counts.items()}, unreadable


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
    verdicts, counts, settled_by_rule = fan_out(
        caseload, deciding, lambda words, _, message: template.found_in(words, message)
    )
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
