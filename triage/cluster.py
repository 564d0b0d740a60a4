"""The same story over Ray: `prepare` and `settle` as tasks, `judge` as a pool of actors with an engine each.

The only importer of ray. Tasks and actors with object references rather than Ray Data: a slice's questions and its
events travel apart (the engine's actor never holds events), a compressed shard yields its slices as they are read,
and a receipt is the only thing that comes back to the driver, whose cost is the same however large the slices are.

Promises: a bounded number of slices is in flight (back-pressure end to end); only loopback listens when the cluster
is a local one; what vLLM and Ray print goes to OUTPUT/logs. Does not restart an engine that died: the run stops and
can be resumed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from triage.boundary import egress

# Before ray is imported. A cluster of this machine alone needs nobody to reach it, and this is the switch that makes
# Ray take the loopback address for the node's, and bind all its ports there (the address given to `init` does not).
egress.switch_off()
if "RAY_ADDRESS" not in os.environ:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import ray  # noqa: E402
import ray.exceptions  # noqa: E402

from triage import pipeline  # noqa: E402
from triage.custody.verify import proved  # noqa: E402
from triage.engine import prompt as prompts  # noqa: E402
from triage.engine.explain import ANSWER_TOKENS  # noqa: E402
from triage.engine.generate import Engine, EngineLost  # noqa: E402
from triage.engine.meter import Gauge, Metered  # noqa: E402
from triage.engine.vllm import Settings, VllmEngine  # noqa: E402
from triage.errors import ShardUnreadable, Stopped, TriageError, WrongInput  # noqa: E402
from triage.records import Caseload, Judgement, Question, Reading, Receipt, Unreadable  # noqa: E402

LoadEngine = Callable[[Path, Settings], Engine]
TICK_SECONDS = 1.0
_OBJECT_STORE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Header:
    """What the driver needs to know of a caseload that it never sees; or why a reading ended early."""

    slice_id: str = ""
    rows: int = 0
    questions: int = 0
    unreadable: Unreadable | None = None


@dataclass(slots=True)
class Progress:
    """How far an attempt is. Bytes are stored bytes of readings, `of_bytes` those of all that was planned."""

    of_bytes: int
    read_bytes: int = 0
    rows_prepared: int = 0
    rows_committed: int = 0
    questions_known: int = 0
    gauge: Gauge = field(default_factory=Gauge)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt did. `problem` is what ended it early, None where all readings were seen to their end."""

    receipts: tuple[Receipt, ...]
    unreadable: tuple[Unreadable, ...]
    gauge: Gauge
    engine: dict[str, Any]
    counters: dict[str, float]
    problem: TriageError | None


def run(
    run: pipeline.Run,
    readings: Collection[Reading],
    done: Collection[str],
    show: Callable[[Progress], None],
    *,
    load_engine: LoadEngine = VllmEngine,
) -> Outcome:
    """Do the slices of `readings` that are not in `done`, on the cluster that RAY_ADDRESS names or a local one.

    Raises PromiseBroken or WrongInput where an engine cannot be loaded; later problems come back in the outcome.
    """
    show(Progress(of_bytes=0))
    with connected(), _stop_signals():
        pool = start_pool(run, load_engine)
        driver = Driver(run, readings, done, pool, show)
        problem: TriageError | None = None
        try:
            driver.drive()
        except TriageError as ended:
            problem = ended
        except ray.exceptions.RayError as lost:
            problem = _meaning(lost)
        engine, counters = {}, {}
        with contextlib.suppress(ray.exceptions.RayError):
            driver.read_gauges(timeout=5)
            engine, counters = ray.get(pool[0].describe.remote(), timeout=5)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get([judge.close.remote() for judge in pool], timeout=20)
        return Outcome(
            tuple(driver.receipts), tuple(driver.unreadable), driver.progress.gauge, engine, counters, problem
        )


class Driver:
    """The loop that keeps the engines fed: readings in, receipts out, a bounded number of slices between."""

    def __init__(
        self,
        run: pipeline.Run,
        readings: Collection[Reading],
        done: Collection[str],
        pool: list[Any],
        show: Callable[[Progress], None],
    ) -> None:
        self.run, self.pool, self.show = run, pool, show
        self.shared_run, self.shared_done = ray.put(run), ray.put(frozenset(done))
        self.waiting = list(reversed(list(readings)))
        self.reading: dict[Any, Reading] = {}  # a generator of caseloads -> what it reads
        self.settling: dict[Any, tuple[int, Header]] = {}  # a receipt to come -> (engine, header)
        self.load = [0] * len(pool)  # questions outstanding with each engine
        self.receipts: list[Receipt] = []
        self.unreadable: list[Unreadable] = []
        self.progress = Progress(of_bytes=sum(reading.size_bytes for reading in readings))
        self.gauges: dict[Any, int] = {}
        self.gauge_of = [Gauge()] * len(pool)

    def drive(self) -> None:
        """Until nothing is left. Raises what ends the run early."""
        most = self.run.job.run.slices_in_flight * len(self.pool)
        shown = 0.0
        while self.waiting or self.reading or self.settling:
            while self.waiting and len(self.reading) < 2:
                reading = self.waiting.pop()
                self.reading[_prepare.remote(self.shared_run, reading, self.shared_done)] = reading
            watched = [*self.settling, *(self.reading if len(self.settling) < most else ())]
            ready, _ = ray.wait(watched, num_returns=1, timeout=TICK_SECONDS, fetch_local=False)
            for item in ready:
                if item in self.settling:
                    self._finish(item)
                else:
                    self._forward(item)
            if time.monotonic() - shown >= TICK_SECONDS:
                self.read_gauges(timeout=0)
                self.show(self.progress)
                shown = time.monotonic()
        self.show(self.progress)

    def _forward(self, caseloads: Any) -> None:
        """Send the next caseload of a reading to the engine with the least to do, and on to be settled."""
        try:
            header: Header = ray.get(next(caseloads))
        except StopIteration:
            self.progress.read_bytes += self.reading.pop(caseloads).size_bytes
            return
        if header.unreadable:
            self.unreadable.append(header.unreadable)
            return
        questions, caseload = next(caseloads), next(caseloads)
        engine = self.load.index(min(self.load))
        judged: Any = Judgement((), 0.0)
        if header.questions:
            self.load[engine] += header.questions
            judged = self.pool[engine].judge.remote(questions)
        self.settling[_settle.remote(self.shared_run, caseload, judged)] = (engine, header)
        self.progress.rows_prepared += header.rows
        self.progress.questions_known += header.questions

    def _finish(self, settled: Any) -> None:
        engine, header = self.settling.pop(settled)
        self.receipts.append(ray.get(settled))
        self.load[engine] -= header.questions
        self.progress.rows_committed += header.rows

    def read_gauges(self, timeout: float) -> None:
        """Take what the engines answered since the last time, and ask again."""
        answered, _ = (
            ray.wait(list(self.gauges), num_returns=len(self.gauges), timeout=timeout) if self.gauges else ([], [])
        )
        for ref in answered:
            self.gauge_of[self.gauges.pop(ref)] = ray.get(ref)
        for number, judge in enumerate(self.pool):
            if number not in self.gauges.values():
                self.gauges[judge.gauge.remote()] = number
        if timeout:
            for ref, number in self.gauges.items():
                self.gauge_of[number] = ray.get(ref, timeout=timeout)
            self.gauges.clear()
        self.progress.gauge = sum(self.gauge_of, Gauge())


@ray.remote(num_cpus=1, num_returns="streaming", _generator_backpressure_num_objects=6)
def _prepare(
    run: pipeline.Run, reading: Reading, done: Collection[str]
) -> Iterator[Header | tuple[Question, ...] | Caseload]:
    """Three objects for each caseload: its header for the driver, its questions for an engine, itself for settling."""
    try:
        for caseload in pipeline.prepare(run, reading, done):
            yield Header(caseload.slice_id, caseload.rows_in, len(caseload.questions))
            yield caseload.questions
            yield caseload
    except ShardUnreadable as problem:
        yield Header(unreadable=Unreadable(reading.shard.uri, problem.what))


@ray.remote(num_cpus=0)  # bounded by the slices in flight; a share of a core could not be had while readers wait
def _settle(run: pipeline.Run, caseload: Caseload, judgement: Judgement) -> Receipt:
    return pipeline.settle(run, caseload, judgement)


class Judge:
    """The actor: one engine, and many caseloads in flight in it."""

    def __init__(self, run: pipeline.Run, load_engine: LoadEngine, log: Path) -> None:
        self.run, self.load_engine, self.log = run, load_engine, log

    async def load(self) -> None:
        """Prove the weights, load them, render the prompt. Raises PromiseBroken, WrongInput or TriageError."""
        _noise_to(self.log)
        model = self.run.job.model
        private = Path(tempfile.mkdtemp(prefix="triage-weights-"))
        try:
            with proved(self.run.model, private) as weights:
                settings = Settings(model.max_model_len, model.tensor_parallel, model.prefix_caching)
                self.engine = Metered(self.load_engine(weights, settings))
        except TriageError:
            raise
        except Exception as problem:
            traceback.print_exc()  # to the log that is named: no row was read yet, so it holds no log text
            raise TriageError(
                f"the engine could not be loaded ({type(problem).__name__})", where=str(self.log), next="read that file"
            ) from None
        finally:
            shutil.rmtree(private, ignore_errors=True)
        self.prompt = prompts.Prompt.render(self.run.prompt, self.engine.tokenizer)
        self.prompt.room(self.engine.max_model_len, ANSWER_TOKENS)  # a context too small is said before any question

    async def judge(self, questions: tuple[Question, ...]) -> Judgement:
        return await pipeline.judge(self.run, questions, self.prompt, self.engine)

    async def gauge(self) -> Gauge:
        return self.engine.read()

    async def describe(self) -> tuple[dict[str, Any], dict[str, float]]:
        """What the engine is, and its own counters."""
        return self.engine.about(), self.engine.counters()

    async def close(self) -> None:
        self.engine.close()


def start_pool(run: pipeline.Run, load_engine: LoadEngine, judge: type[Judge] = Judge) -> list[Any]:
    """Engines, loaded and proved. Raises what the first of them that fails says."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    model = run.job.model
    count = model.replicas or max(1, gpus // model.tensor_parallel)
    resources = {"num_gpus": model.tensor_parallel, "num_cpus": 1} if gpus else {"num_cpus": 1}
    if gpus and count * model.tensor_parallel > gpus:
        raise WrongInput(
            f"{count} engines of {model.tensor_parallel} GPUs each, and the cluster has {gpus} GPUs",
            where="[model] replicas",
        )
    shared = ray.put(run)
    actor: Any = ray.remote(max_concurrency=run.job.run.slices_in_flight + 8, **resources)(judge)
    pool = [
        actor.remote(shared, load_engine, run.output / "logs" / f"engine-{run.attempt}-{number}.log")
        for number in range(count)
    ]
    try:
        ray.get([member.load.remote() for member in pool])
    except ray.exceptions.RayError as problem:
        raise _meaning(problem) from None
    return pool


def _meaning(problem: ray.exceptions.RayError) -> TriageError:
    """What an error of Ray's means to the user."""
    cause = getattr(problem, "cause", None)
    if isinstance(cause, TriageError):
        return cause
    if isinstance(problem, ray.exceptions.RayActorError):
        return EngineLost("the engine's process died", next="start the same command again: it resumes")
    if isinstance(problem, ray.exceptions.RayTaskError):
        return TriageError(f"a step failed ({type(cause).__name__ if cause else 'unknown'})", next="see OUTPUT/logs")
    return Stopped(f"Ray lost something ({type(problem).__name__})", next="start the same command again: it resumes")


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one here that only loopback reaches and that leaves nothing behind."""
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Short, since Ray puts sockets in it and their paths may have 107 bytes; private, since it holds caseloads.
    scratch = tempfile.mkdtemp(prefix="triage-", dir="/tmp")
    try:
        ray.init(
            address="local",
            num_cpus=max(2, len(os.sched_getaffinity(0))),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=scratch,
            **quiet,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run as Stopped: what is committed stays."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(f"stopped by {signal.Signals(number).name}", next="start the same command again: it resumes")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noise_to(log: Path) -> None:
    """Send what this process and its children print to `log`, where this node can write there."""
    with contextlib.suppress(OSError):
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
