"""The job file: TOML, validated whole before anything starts.

Promises: an unknown key is an error that names the nearest known one; every path is made absolute against the
job file's folder; what a job means is a frozen value. Opens no shard.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from triage.columns import CANONICAL
from triage.errors import WrongInput

MIB = 1 << 20
Canonical = Literal["timestamp", "host", "level", "service", "user", "message"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Table):
    """Shards that share one field mapping."""

    paths: list[str] = Field(min_length=1, description="files, folders, globs; local, s3://, gs:// or az://")
    fields: dict[Canonical, str] = Field(
        default_factory=dict,
        description="canonical column = source column; dots reach into nested records. "
        "Without `message` the record's canonical JSON is the message",
    )


class Prefilter(_Table):
    rules: list[str] = Field(default_factory=list, description="rule files, or folders of *.toml rule files")
    sigma: list[str] = Field(
        default_factory=list, description="Sigma rule files, or folders with *.yml and *.yaml at any depth"
    )


class Condense(_Table):
    level: Literal["standard", "exact", "off"] = Field(
        default="standard",
        description="standard: events that differ only in what the masks hide share a question; "
        "exact: only events with the same text do; off: every event asks its own",
    )


class Memory(_Table):
    """Answers already paid for, and corrections. Without this table a run neither remembers nor is corrected."""

    path: str = Field(description="a folder, made with mode 0700; many runs may use it at once")
    max_age_days: int = Field(default=90, ge=1, description="an older answer is asked again, and dropped")


class Sample(_Table):
    """What is judged only to measure what was not."""

    settled: float = Field(
        default=0.01, ge=0, le=1, description="share of the rows that rules settled as benign that is judged anyway"
    )
    shared: float = Field(
        default=0.01, ge=0, le=1, description="share of the events that shared a question that is judged on its own"
    )
    most_per_slice: int = Field(default=20, ge=0, description="what each of the two may ask at most in one slice")
    seed: int = Field(default=0, description="other seeds draw other rows")


class Model(_Table):
    name: str = Field(default="default", description="a name in the model registry")
    max_model_len: int = Field(default=2048, ge=512, description="tokens of prompt and answer together")
    replicas: int | None = Field(default=None, ge=1, description="engines; by default as many as the GPUs allow")
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that share one engine")
    prefix_caching: bool = Field(default=True, description="reuse the computed states of the shared prompt prefix")


class Cascade(_Table):
    """A larger model for what the first one is unsure of. Without this table one model answers all."""

    model: str = Field(description="its name in the model registry")
    prompt: str | None = Field(default=None, description="as [judge] prompt, for the larger model")
    below: float = Field(
        default=0.5, ge=0, le=1, description="it is asked where the first model's margin, calibrated, is below this"
    )
    sample: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="share of the questions that the first model is sure of that it is asked as well, to measure how "
        "often the two agree there",
    )
    gpu_share: float = Field(
        default=0.7, gt=0, lt=1, description="of the GPU memory that an engine may use, what the larger model gets"
    )


class Judge(_Table):
    prompt: str | None = Field(
        default=None, description="a prompt of triage/engine/prompts; by default the one that the model was taught with"
    )
    calibrated: bool = Field(default=True, description="use what `triage calibrate` recorded of the model and prompt")
    review_at: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="review when p_review + p_escalate is this much; by default what was fitted, else 0.5",
    )
    escalate_at: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="escalate when p_escalate is this much; by default what was fitted, else 0.5",
    )
    explain: bool = Field(
        default=True, description="ask for severity, reason and evidence of what is not benign; false: verdicts alone"
    )
    max_windows: int = Field(
        default=32, ge=1, description="a text that needs more overlapping windows than this is undecided"
    )


class Output(_Table):
    path: str


class Run(_Table):
    slice_bytes: int = Field(default=8 * MIB, ge=1024, description="uncompressed bytes of one slice, about")
    max_record_bytes: int = Field(default=64 * MIB, ge=1024, description="a longer record is quarantined")
    slices_in_flight: int = Field(default=4, ge=1, description="prepared slices that may wait for one engine")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Job(_Table):
    """What to read, what to drop, whom to ask, where to write."""

    input: Annotated[list[Input], BeforeValidator(_one_or_many), Field(min_length=1)]
    prefilter: Prefilter = Prefilter()
    condense: Condense = Condense()
    model: Model = Model()
    judge: Judge = Judge()
    cascade: Cascade | None = None
    memory: Memory | None = None
    sample: Sample = Sample()
    output: Output
    run: Run = Run()


def load(path: Path, *, inputs: tuple[str, ...] = (), output: str | None = None, model: str | None = None) -> Job:
    """Read and validate the job file at `path`; the keyword arguments replace what it says (the program's options).

    Paths given as options are relative to the working folder, those in the file to the file's folder.
    Raises WrongInput with the file, the key and the nearest known key.
    """
    document = read_toml(path, "a job file")
    try:
        job = Job.model_validate(document)
    except ValidationError as refusal:
        raise _wrong_key(path, first_complaint(refusal)) from None
    here = path.resolve().parent
    if inputs and len(job.input) > 1:
        raise WrongInput(
            f"the job has {len(job.input)} [[input]] tables, and --input cannot tell which one to replace",
            where=str(path),
            expected="a job file with one [input]",
            next="copy the job file and edit its paths",
        )
    return job.model_copy(
        update={
            "input": [
                table.model_copy(
                    update={"paths": [absolute(p, Path.cwd()) for p in inputs]}
                    if inputs
                    else {"paths": [absolute(p, here) for p in table.paths]}
                )
                for table in job.input
            ],
            "prefilter": Prefilter(
                rules=[absolute(p, here) for p in job.prefilter.rules],
                sigma=[absolute(p, here) for p in job.prefilter.sigma],
            ),
            "memory": job.memory.model_copy(update={"path": absolute(job.memory.path, here)}) if job.memory else None,
            "output": Output(path=absolute(output, Path.cwd()) if output else absolute(job.output.path, here)),
            "model": job.model.model_copy(update={"name": model}) if model else job.model,
        }
    )


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """The TOML document at `path`. Raises WrongInput for a file that is missing, not text or not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise WrongInput("no such file", where=str(path), expected=kind, next="check the path") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise WrongInput(f"cannot be read: {problem}", where=str(path), expected=f"{kind} in UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        # In the words of tomllib, which tells the line only there.
        line = re.search(r" \(at line (\d+), column \d+\)$", str(problem))
        where = f"{path}:{line[1]}" if line else str(path)
        raise WrongInput(f"not TOML: {problem}", where=where, expected=kind) from None


def absolute(path: str, base: Path) -> str:
    """`path` as it is when it is a URL or absolute, else below `base`."""
    if "://" in path:
        return path
    return str(base / Path(path).expanduser())


def nearest(word: str, known: list[str]) -> str:
    """A phrase that names the known word closest to `word`, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? known: {', '.join(known)}" if close else f"one of {', '.join(known)}"


def first_complaint(refusal: ValidationError) -> ErrorDetails:
    """What to tell first: an unknown key is often why another one is missing."""
    return min(refusal.errors(), key=lambda error: error["type"] != "extra_forbidden")


def _wrong_key(path: Path, error: ErrorDetails) -> WrongInput:
    """A complaint of pydantic as one line of ours."""
    steps = [str(step) for step in error["loc"] if step != "[key]"]
    where = f"{path} [{'.'.join(steps[:-1])}]" if len(steps) > 1 else str(path)
    if error["type"] == "extra_forbidden":
        return WrongInput(
            f"unknown key {steps[-1]!r}", where=where, expected=nearest(steps[-1], _known_keys(steps[:-1]))
        )
    if error["type"] == "literal_error" and "fields" in steps:
        return WrongInput(
            f"unknown canonical column {steps[-1]!r}", where=where, expected=nearest(steps[-1], list(CANONICAL))
        )
    if error["type"] == "missing":
        return WrongInput(f"key {steps[-1]!r} is missing", where=where, next=f"add {steps[-1]} to it")
    return WrongInput(f"{steps[-1]}: {error['msg'].lower()}", where=where)


def _known_keys(steps: list[str]) -> list[str]:
    """The keys of the table that `steps` leads to."""
    inside: dict[str, type[BaseModel]] = {"input": Input, "output": Output, "memory": Memory, "cascade": Cascade}
    table: type[BaseModel] = Job
    for step in steps:
        if not step.isdigit():
            table = inside.get(step) or type(table.model_fields[step].default)
    return list(table.model_fields)
