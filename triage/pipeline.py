"""The story of a run in plain calls.

    plan     shards -> slices
    prepare  slice  -> caseload   read . sift (rules) . condense
    judge    questions -> answers label . explain (only what is not benign) . validate
    settle   answers -> receipt   fan out to every event . commit

`plan` runs once, the other three once a slice. `cluster` runs these same functions over Ray and adds nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from triage.columns import DISPOSITIONS
from triage.condense import mask, template
from triage.custody import registry
from triage.engine import explain as explain_pass
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.generate import Engine
from triage.errors import ShardUnreadable, WrongInput
from triage.job import Job
from triage.prefilter import rules as rule_files
from triage.prefilter.sift import ASKED, NOISE, RULED, Settling, sift
from triage.prefilter.sigma import Ruleset
from triage.records import (
    Answer,
    Caseload,
    Explanation,
    Judgement,
    Plan,
    Question,
    Reading,
    Receipt,
    Unreadable,
    Usage,
    digest_of,
)
from triage.shards.plan import plan as plan_shards
from triage.shards.read import read
from triage.shards.rows import SliceRows
from triage.verdicts import validate
from triage.verdicts.commit import commit
from triage.verdicts.fan_out import Provenance, RuleFacts, fan_out
from triage.verdicts.validate import Thresholds


@dataclass(frozen=True)
class Run:
    """A job with everything it names loaded: what each act needs, picklable, the same on every worker."""

    job: Job
    rules: tuple[rule_files.Rule, ...]
    prompt: prompts.PromptFile
    model: registry.Entry
    sigma: Ruleset = field(default_factory=Ruleset)
    limit_rows: int | None = None
    run_id: str = ""
    attempt: int = 1

    @property
    def output(self) -> Path:
        return Path(self.job.output.path)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.job.judge.review_at, self.job.judge.escalate_at)

    @property
    def every_rule(self) -> tuple[Settling, ...]:
        return (*self.rules, *self.sigma.rules)

    def configuration(self) -> dict[str, str]:
        """Digests of all that a verdict depends on beside its shard, each under the name a person would look for."""
        return {
            "model": self.model.digest,
            "prompt": self.prompt.digest,
            "answer schema": digest_of(explain_pass.SCHEMA),
            "rules": digest_of([rule.model_dump(by_alias=True) for rule in self.rules]),
            "sigma rules": digest_of(self.sigma.identity()),
            "masks": digest_of([mask.VERSION, *map(list, mask.MASKS), self.job.condense.level]),
            "judge": digest_of(self.job.judge.model_dump()),
            "context": digest_of(self.job.model.max_model_len),
            "input fields": digest_of([table.fields for table in self.job.input]),
            "slices": digest_of([self.job.run.slice_bytes, self.job.run.max_record_bytes, self.limit_rows]),
        }

    @property
    def digest(self) -> str:
        return digest_of(self.configuration())


def load(job: Job, *, limit_rows: int | None = None) -> Run:
    """Load what `job` names. Raises WrongInput for anything that is not there, not sound or not approved."""
    if "://" in job.output.path:
        raise WrongInput("OUTPUT is not on a file system", where=job.output.path, expected="a local or mounted folder")
    if limit_rows is not None and limit_rows < 1:
        raise WrongInput(f"--limit-rows {limit_rows}", expected="1 or more")
    return Run(
        job=job,
        rules=(rules := rule_files.load(job.prefilter.rules)),
        sigma=_sigma(job, rules),
        prompt=prompts.load(job.judge.prompt),
        model=registry.require_approval(registry.get(job.model.name)),
        limit_rows=limit_rows,
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
        tested=rule_files.sources(run.rules),
    )


def forecast(run: Run, plan: Plan) -> tuple[dict[str, dict[str, int]], list[Unreadable]]:
    """What `prepare` would give for each shard: rows, quarantined, settled and ruled by rules, questions; and what
    could not be read. Reads everything, asks nothing, writes nothing."""
    counts: dict[str, Counter[str]] = {}
    unreadable = []
    for reading in plan.readings:
        tally = counts.setdefault(reading.shard.uri, Counter())
        try:
            for caseload in prepare(run, reading):
                outcomes = caseload.events["outcome"]
                tally.update(
                    rows=caseload.rows_in,
                    quarantined=caseload.quarantine.height,
                    settled=int((outcomes == NOISE).sum()),
                    ruled=int((outcomes == RULED).sum()),
                    questions=len(caseload.questions),
                )
        except ShardUnreadable as problem:
            unreadable.append(Unreadable(reading.shard.uri, problem.what))
    columns = ("rows", "quarantined", "settled", "ruled", "questions")
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
    events = sift(rows.events, run.rules, run.sigma)
    noise = events.filter(outcome=NOISE)
    shown, templates = template.condense(events.filter(pl.col("outcome") != NOISE), run.job.condense.level)
    asked = templates.join(shown.filter(outcome=ASKED), on="template_id", how="semi")
    questions = tuple(Question(row["template_id"], row["template"]) for row in asked.iter_rows(named=True))
    return Caseload(
        slice=rows.slice,
        slice_id=slice_id,
        last=rows.last,
        follows=follows,
        rows_in=rows.rows_in,
        events=pl.concat([shown, noise], how="diagonal"),
        quarantine=rows.quarantine,
        questions=questions,
        prepare_seconds=time.monotonic() - started,
    )


async def judge(run: Run, questions: Sequence[Question], prompt: prompts.Prompt, engine: Engine) -> Judgement:
    """Act three: an answer to every question, all in flight at once. Raises EngineLost."""
    started = time.monotonic()
    answers = await asyncio.gather(*(_answer(run, question, prompt, engine) for question in questions))
    return Judgement(tuple(answers), time.monotonic() - started)


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
    Stopped where the output cannot be written."""
    started = time.monotonic()
    facts = {
        rule.id: RuleFacts(rule.settle or rule.raise_, rule.severity, rule.category, rule.because)
        for rule in run.every_rule
    }
    provenance = Provenance(run.run_id, run.model.digest, run.prompt.digest)
    verdicts, counts, settled_by_rule = fan_out(
        caseload, judgement.answers, facts, run.thresholds, provenance, template.found_in
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
