"""A run: a job with everything it names loaded, and what its results depend on.

Promises: what is wrong with what a job names is said here, before any work; two runs with the same configuration have
the same verdicts on the same shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from triage.condense import corrections, mask
from triage.condense.memory import Memory, Scope, open_memory
from triage.custody import registry
from triage.engine import explain as explain_pass
from triage.engine import prompt as prompts
from triage.engine.generate import SAMPLING
from triage.errors import WrongInput
from triage.job import Job
from triage.prefilter import rules as rule_files
from triage.prefilter.sift import Settling
from triage.prefilter.sigma import Ruleset
from triage.records import Correction, digest_of
from triage.verdicts import account as accounts
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
            "masks": digest_of([mask.VERSION, self.job.condense.level]),
            "context": digest_of([self.job.model.max_model_len, self.job.judge.max_windows]),
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.configuration())

    @cached_property
    def scope(self) -> Scope:
        return Scope(digest_of(self._asked_with()), self.model.digest, self.prompt.digest)


def load_run(job: Job, *, limit_rows: int | None = None) -> Run:
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
