"""A run: a job with everything it names loaded, and what its results depend on.

Promises: what is wrong with what a job names is said here, before any work; two runs with the same configuration have
the same verdicts on the same shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

from triage.calibration import Calibration
from triage.columns import Label
from triage.condense import corrections, mask
from triage.condense.memory import Memory, Scope, open_memory
from triage.custody import registry
from triage.engine import explain as explain_pass
from triage.engine import prompt as prompts
from triage.engine.generate import SAMPLING
from triage.errors import WrongInput
from triage.job import Job
from triage.prefilter import rules as rule_files
from triage.prefilter import suspect
from triage.prefilter.sift import Settling
from triage.prefilter.sigma import Ruleset
from triage.records import Correction, digest_of
from triage.verdicts import account as accounts
from triage.verdicts.validate import Thresholds

DEFAULT_PROMPT: Final = "triage-1"  # of models that were not taught with one


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of a cascade, with the prompt it is asked with and what was fitted for the two."""

    model: registry.Entry
    prompt: prompts.PromptFile
    calibration: Calibration | None

    def calibrated(self, p: Mapping[Label, float]) -> Mapping[Label, float]:
        """What the model's label probabilities mean: as they are, where nothing was fitted."""
        return self.calibration.calibrated(p) if self.calibration else p


@dataclass(frozen=True)
class Run:
    """A job with everything it names loaded: what each act needs, picklable, the same on every worker."""

    job: Job
    rules: tuple[rule_files.Rule, ...]
    stages: tuple[Stage, ...]  # the model, and where the job has a cascade the larger one
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
        """The job's, else what was fitted with the calibration, else a half."""
        judge, fitted = self.job.judge, self.calibration
        review_at, escalate_at = (fitted.review_at, fitted.escalate_at) if fitted else (None, None)
        return Thresholds(_first(judge.review_at, review_at), _first(judge.escalate_at, escalate_at))

    @property
    def model(self) -> registry.Entry:
        return self.stages[0].model

    @property
    def prompt(self) -> prompts.PromptFile:
        return self.stages[0].prompt

    @property
    def calibration(self) -> Calibration | None:
        return self.stages[0].calibration

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
            "calibration": digest_of([stage.calibration and stage.calibration.digest for stage in self.stages]),
            "sample": digest_of(self.job.sample.model_dump()),
            "input fields": digest_of([table.fields for table in self.job.input]),
            "slices": digest_of([self.job.run.slice_bytes, self.job.run.max_record_bytes, self.limit_rows]),
        }

    def _asked_with(self) -> dict[str, str]:
        """The part of it that the answer to a question depends on. Thresholds do not belong to it: they come later."""
        return {
            "model": self.model.digest,
            "prompt": self.prompt.digest,
            "answer schema": digest_of(explain_pass.SCHEMA if self.job.judge.explain else None),
            "sampling": digest_of([SAMPLING, explain_pass.ANSWER_TOKENS]),
            "masks": digest_of([mask.VERSION, self.job.condense.level]),
            "context": digest_of([self.job.model.max_model_len, self.job.judge.max_windows]),
            "framings": suspect.VERSION,
            **self._cascaded_with(),
        }

    def _cascaded_with(self) -> dict[str, str]:
        """The second model is asked by what the first one's calibrated margin is."""
        cascade = self.job.cascade
        if cascade is None:
            return {}
        first, second = self.stages
        return {
            "cascade": digest_of(
                [
                    [second.model.digest, second.prompt.digest, cascade.below, cascade.sample],
                    first.calibration and first.calibration.digest,
                ]
            )
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.configuration())

    @cached_property
    def scope(self) -> Scope:
        return Scope(
            digest_of(self._asked_with()), tuple((stage.model.digest, stage.prompt.digest) for stage in self.stages)
        )


def load_run(job: Job, *, limit_rows: int | None = None) -> Run:
    """Load what `job` names. Raises WrongInput for anything that is not there, not sound or not approved."""
    if "://" in job.output.path:
        raise WrongInput("OUTPUT is not on a file system", where=job.output.path, expected="a local or mounted folder")
    if limit_rows is not None and limit_rows < 1:
        raise WrongInput(f"--limit-rows {limit_rows}", expected="1 or more")
    stages = [_stage(job, job.model.name, job.judge.prompt)]
    if job.cascade:
        stages.append(_stage(job, job.cascade.model, job.cascade.prompt))
    run = Run(
        job=job,
        rules=(rules := rule_files.load(job.prefilter.rules)),
        sigma=_sigma(job, rules),
        stages=tuple(stages),
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


def _first(*thresholds: float | None) -> float:
    return next((at for at in thresholds if at is not None), 0.5)


def _stage(job: Job, name: str, prompt_name: str | None) -> Stage:
    model = registry.require_approval(registry.get(name))
    prompt = prompts.load(prompt_name or model.prompt or DEFAULT_PROMPT)
    return Stage(model, prompt, model.calibration(prompt.digest) if job.judge.calibrated else None)


def _sigma(job: Job, rules: Sequence[rule_files.Rule]) -> Ruleset:
    if not job.prefilter.sigma:
        return Ruleset()
    from triage.prefilter import sigma_compile  # pySigma is loaded only where there are Sigma rules

    found = sigma_compile.load(job.prefilter.sigma)
    if both := {rule.id for rule in rules} & {rule.id for rule in found.rules}:
        raise WrongInput(f"id {min(both)!r} is used twice", where="[prefilter] sigma", expected="another id")
    return found
