"""The records that pass between the rooms: frozen, picklable, no behaviour but identity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from triage.columns import Label

Disposition = Literal["benign", "review", "escalate", "undecided"]
Compression = Literal["gzip", "zstd"]


def digest_of(value: object) -> str:
    """SHA-256 over the canonical JSON (sorted keys) of `value`, in hex."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Shard:
    """One input file. `version` is the store's etag, or size and modification time."""

    uri: str
    format: Literal["parquet", "jsonl"]
    compression: Compression | None
    size_bytes: int
    version: str
    fields: tuple[tuple[str, str], ...]  # (canonical column, source column)

    @property
    def identity(self) -> str:
        return digest_of([self.uri, self.version])


@dataclass(frozen=True, slots=True)
class Slice:
    """The unit of work and of commit: rows `start <= i < stop` of a Parquet shard, or the records that start at
    bytes `start <= b < stop` (uncompressed) of a JSONL shard. `max_rows` cuts the last slice of a limited run."""

    shard: Shard
    start: int
    stop: int
    max_rows: int | None = None

    def id(self, configuration_digest: str) -> str:
        """32 hex digits: the same whenever shard version, range and everything the verdict depends on are."""
        return digest_of(
            [configuration_digest, self.shard.identity, self.shard.fields, self.start, self.stop, self.max_rows]
        )[:32]

    def __str__(self) -> str:
        unit = "rows" if self.shard.format == "parquet" else "bytes"
        return f"{self.shard.uri} {unit} {self.start} to {self.stop}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read in one go, in sequence: one slice, or all the slices of a part that cannot be entered in the
    middle (a compressed shard, an over-large row group). `slices` is None where their number is known only by
    reading: then slice k covers bytes `k * slice_bytes` to `(k + 1) * slice_bytes`."""

    shard: Shard
    slices: tuple[Slice, ...] | None
    size_bytes: int  # share of the shard's stored bytes; what progress is weighed by
    max_rows: int | None = None  # cuts a reading of unknown slices


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A shard, or a part of one, that could not be read at all."""

    shard: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    readings: tuple[Reading, ...]
    unreadable: tuple[Unreadable, ...]
    rows_known: int | None  # None where a JSONL shard's rows are known only by reading


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt to the model: a template's text, and nothing else, so that it is the same tomorrow."""

    template_id: str
    text: str
    framings: tuple[str, ...] = ()  # of a text that talks to its reader: what is left without it; asked as well


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or many answers. Cached tokens are part of the prompt's."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the model says for a template that is not benign; None where it said nothing that can be read."""

    severity: str | None = None
    category: str | None = None
    rationale: str | None = None
    evidence: tuple[str, ...] = ()
    next_step: str | None = None
    problem: str | None = None  # why the explanation, or part of it, is missing


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one template after it was asked. `probabilities` is None when it is undecided; then
    `reason` says why. An explanation's evidence is in the template's words."""

    template_id: str
    probabilities: Mapping[Label, float] | None
    reason: str | None = None
    explanation: Explanation | None = None
    usage: Usage = field(default_factory=Usage)
    asked: int = 1  # label questions this took: more than one for windows, none when another caseload or run asked
    judged_in: str | None = None  # the run that asked, None for this one
    stage: int = 0  # which model of a cascade said it
    first_said: Label | None = None  # where a second model was asked: the disposition by the first one
    sampled: bool = False  # the second was asked only to measure how often the two agree


@dataclass(frozen=True, slots=True)
class Correction:
    """A named person's verdict on a template, known by the template's keyed fingerprint. In force from `at` to
    before `until`."""

    id: str
    fingerprint: str
    disposition: Label
    because: str
    by: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Tally:
    """One kind of sample of one slice: of `rows`, `judged` were drawn and answered, `found` of them were raised (or
    changed); `undecided` were drawn and not answered. `weight` is the inverse of the chance to be drawn."""

    rows: int = 0
    judged: int = 0
    found: int = 0
    undecided: int = 0
    weight: float = 0.0
    shift: float = 0.0  # sum of the absolute changes of p_benign


@dataclass(frozen=True, slots=True)
class Caseload:
    """One slice's rows on their way: `events` (with the columns of condense, corrections, sift and sample),
    `quarantine`, what memory knew of its templates, and what is left to ask. `rows_in` is counted by the reader."""

    slice: Slice
    slice_id: str
    last: bool  # the last slice of its reading
    follows: str | None  # the id of the slice read before it in the same reading
    rows_in: int
    events: pl.DataFrame
    quarantine: pl.DataFrame
    known: tuple[Answer, ...]
    questions: tuple[Question, ...]
    texts: Mapping[str, str]  # of the templates in `known` and `questions`
    only_sampled: frozenset[str]  # templates in `questions` that are asked for a sample alone
    memory_refused: int  # entries whose MAC failed
    samples: Mapping[str, Tally]  # settled, shared: what was drawn, before it is judged
    prepare_seconds: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answers to questions of one caseload, and how long the slowest took to come."""

    answers: tuple[Answer, ...] = ()
    judge_seconds: float = 0.0

    def __add__(self, other: Judgement) -> Judgement:
        return Judgement(self.answers + other.answers, max(self.judge_seconds, other.judge_seconds))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a slice is committed."""

    slice_id: str
    shard: str
    shard_version: str
    start: int
    stop: int
    last: bool
    follows: str | None
    rows: Mapping[str, int]  # rows_in and the outcomes that add up to it
    dispositions: Mapping[str, int]
    settled_by_rule: Mapping[str, int]
    questions: int
    sample_questions: int  # of them, asked for a sample alone
    templates_from_memory: int
    memory_refused: int
    samples: Mapping[str, Tally]  # settled, shared
    cascade: Mapping[str, int]  # asked_second, agreed, sampled, sampled_agreed; empty without a cascade
    usage: Usage
    prepare_seconds: float
    judge_seconds: float
    settle_seconds: float
    files: Mapping[str, str]  # path below OUTPUT -> SHA-256
    run_id: str
    attempt: int
    committed_at: str


OUTCOMES = (
    "rows_settled",
    "rows_ruled",
    "rows_judged",
    "rows_from_memory",
    "rows_corrected",
    "rows_undecided",
    "rows_quarantined",
)
"""Every row that was read ends in exactly one of these."""


State = Literal["running", "done", "stopped", "failed"]


class Attempt(BaseModel):
    """One start of a run. What it spent is known from its end on, so a killed one shows zeros."""

    model_config = ConfigDict(extra="forbid")

    attempt: int
    started_at: str
    wall_seconds: float = 0.0
    engine_seconds: float = Field(
        default=0.0, description="time with at least one question in the engine, summed over engines"
    )
    questions: int = Field(default=0, description="label questions answered, committed or not")
    explanations: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    exit: int | None = Field(default=None, description="null where it was killed")


class Measured(BaseModel):
    """What a sample says of what was not judged, or not judged on its own."""

    model_config = ConfigDict(extra="forbid")

    rows: int = Field(description="rows that the sample stands for")
    judged: int
    found: int = Field(description="of `judged`: raised by the judge (settled), or given another disposition (shared)")
    undecided: int = Field(description="drawn, and the judge gave no answer that can be read")
    rate: float | None = Field(description="estimate of found among all rows; null where nothing was judged")
    low: float
    high: float = Field(description="between low and high with the confidence stated; undecided ones count as found")
    confidence: float
    method: str
    mean_shift_p_benign: float | None = Field(default=None, description="mean absolute change, in shared alone")


class Account(BaseModel):
    """run.json. Tokens, questions and rows are of committed slices; `attempt_log` has what was spent in all."""

    model_config = ConfigDict(extra="forbid")

    run_id: str
    state: State
    started_at: str = Field(description="of the first attempt; the corrections in force then are those of the run")
    configuration: dict[str, str] = Field(description="digest of each thing that the verdicts depend on")
    inputs: list[str]
    model: dict[str, Any] = Field(description="the registry's entry: name, source, licence, digest, approvals, files")
    prompt: str
    calibration: dict[str, Any] | None = Field(
        default=None, description="what was fitted for the model and prompt, null where nothing was"
    )
    thresholds: dict[str, float] = Field(default_factory=dict, description="review_at and escalate_at")
    rules: dict[str, str] = Field(description="why each rule of the job does what it does, by its id")
    rules_refused: dict[str, str] = Field(
        default_factory=dict, description="Sigma rules of the job that were not run, by id, each with the reason"
    )
    versions: dict[str, str] = Field(default_factory=dict)
    engine: dict[str, Any] = Field(default_factory=dict, description="engine, version, device, options")
    engine_counters: dict[str, float] = Field(
        default_factory=dict, description="the engine's own counters at the end of the last attempt"
    )
    attempts: int
    attempt_log: list[Attempt]
    rows_in: int = 0
    rows_settled: int = 0
    rows_ruled: int = 0
    rows_judged: int = 0
    rows_from_memory: int = 0
    rows_corrected: int = 0
    rows_undecided: int = 0
    rows_quarantined: int = 0
    rows_not_done: int | None = Field(default=None, description="null where only reading would tell")
    balanced: bool = True
    slices: int = 0
    questions: int = Field(default=0, description="label questions whose answers were committed")
    sample_questions: int = Field(default=0, description="of them, asked for a sample alone")
    memory: str | None = Field(default=None, description="the folder of the memory")
    templates_from_memory: int = Field(default=0, description="answered from memory, counted once a slice")
    memory_refused: int = Field(default=0, description="entries that were ignored, as their MAC failed")
    corrections: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="the corrections in force, by id: disposition, because, by, at, until"
    )
    samples: dict[str, Measured] = Field(default_factory=dict, description="settled, shared")
    cascade: dict[str, Any] = Field(
        default_factory=dict,
        description="the second model's registry entry and prompt; of the templates asked: asked_second (the first was "
        "unsure), agreed (of these), sampled (the first was sure), sampled_agreed (of these)",
    )
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    engine_seconds: float = 0.0
    wall_seconds: float = 0.0
    wasted_questions: int = Field(
        default=0, description="answered in attempts that ended before their slice was committed"
    )
    settled_by_rule: dict[str, int] = Field(default_factory=dict)
    dispositions: dict[str, int] = Field(default_factory=dict)
    unreadable: list[dict[str, str]] = Field(default_factory=list)
