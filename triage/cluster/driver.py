"""The loop on the driver: readings in, receipts out, a bounded number of slices between."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions

from triage import pipeline
from triage.cluster.connection import FEEDER, connected, give_way, meaning, stop_signals
from triage.cluster.judge import LoadEngine, start_pool
from triage.engine.meter import Gauge
from triage.engine.vllm import VllmEngine
from triage.errors import ShardUnreadable, TriageError
from triage.records import Caseload, Judgement, Question, Reading, Receipt, Unreadable
from triage.run import Run

TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Header:
    """What the driver needs to know of a caseload that it never sees; or why a reading ended early."""

    slice_id: str = ""
    rows: int = 0
    questions: tuple[int, ...] = ()  # for each engine
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
    run: Run,
    readings: Collection[Reading],
    done: Collection[str],
    show: Callable[[Progress], None],
    *,
    load_engine: LoadEngine = VllmEngine,
) -> Outcome:
    """Do the slices of `readings` that are not in `done`, on the cluster that RAY_ADDRESS names or a local one.

    Engines are loaded when the first question comes up: where memory and rules answer all, none is. Raises WrongInput
    where the cluster has no room for them; what ends the work comes back in the outcome.
    """
    show(Progress(of_bytes=0))
    engines = run.job.model.replicas or 1
    with connected(engines + 1), stop_signals() as stop:  # in this order: ray sets handlers of its own when it starts
        pool = start_pool(run, load_engine)
        driver = Driver(run, readings, done, pool, show, stop.check)
        problem: TriageError | None = None
        try:
            driver.drive()
        except TriageError as ended:
            problem = ended
        except ray.exceptions.RayError as lost:
            problem = meaning(lost)
        engine, counters = {}, {}
        with contextlib.suppress(ray.exceptions.RayError):
            driver.read_gauges(timeout=20)
            engine, counters = ray.get(pool[0].describe.remote(), timeout=20)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get([judge.close.remote() for judge in pool], timeout=20)
        return Outcome(
            tuple(driver.receipts), tuple(driver.unreadable), driver.progress.gauge, engine, counters, problem
        )


class Driver:
    """The loop that keeps the engines fed: readings in, receipts out, a bounded number of slices between."""

    def __init__(
        self,
        run: Run,
        readings: Collection[Reading],
        done: Collection[str],
        pool: list[Any],
        show: Callable[[Progress], None],
        check: Callable[[], None] = lambda: None,  # raises what should end the run early
    ) -> None:
        self.run, self.pool, self.show, self.check = run, pool, show, check
        self.shared_run, self.shared_done = ray.put(run), ray.put(frozenset(done))
        self.waiting = list(reversed(list(readings)))
        self.reading: dict[Any, Reading] = {}  # a generator of caseloads -> what it reads
        self.loading: list[Any] | None = None  # None until there is a question
        self.settling: dict[Any, Header] = {}  # a receipt to come -> its header
        self.receipts: list[Receipt] = []
        self.unreadable: list[Unreadable] = []
        self.progress = Progress(of_bytes=sum(reading.size_bytes for reading in readings))
        # Two caseloads wait for a driver that is busy elsewhere.
        self.prepare = _prepare.options(_generator_backpressure_num_objects=2 * (2 + len(pool)))
        self.gauges: dict[Any, int] = {}
        self.gauge_of = [Gauge()] * len(pool)

    def drive(self) -> None:
        """Until nothing is left. Raises what ends the run early."""
        most = self.run.job.run.slices_in_flight * len(self.pool)
        shown = 0.0
        while self.waiting or self.reading or self.settling:
            self.check()
            while self.waiting and len(self.reading) < 2:
                reading = self.waiting.pop()
                caseloads = self.prepare.remote(self.shared_run, reading, self.shared_done, len(self.pool))
                self.reading[caseloads] = reading
            watched = [
                *(self.loading or ()),
                *self.settling,
                *(self.reading if len(self.settling) < most else ()),
            ]
            ready, _ = ray.wait(watched, num_returns=1, timeout=TICK_SECONDS, fetch_local=False)
            for item in ready:
                if self.loading and item in self.loading:
                    self.loading.remove(item)
                    ray.get(item)
                elif item in self.settling:
                    self._finish(item)
                else:
                    self._forward(item)
            if time.monotonic() - shown >= TICK_SECONDS:
                self.read_gauges(timeout=0)
                self.show(self.progress)
                shown = time.monotonic()
        self.show(self.progress)

    def _forward(self, caseloads: Any) -> None:
        """Send the questions of the next caseload of a reading to their engines, and on to be settled."""
        try:
            header: Header = ray.get(next(caseloads))
        except StopIteration:
            self.progress.read_bytes += self.reading.pop(caseloads).size_bytes
            return
        if header.unreadable:
            self.unreadable.append(header.unreadable)
            return
        parts = [next(caseloads) for _ in self.pool]
        if self.loading is None and any(header.questions):
            self.loading = [judge.load.remote() for judge in self.pool]
        judged = [
            judge.judge.remote(part)
            for judge, part, count in zip(self.pool, parts, header.questions, strict=True)
            if count
        ]
        self.settling[_settle.remote(self.shared_run, next(caseloads), *judged)] = header
        self.progress.rows_prepared += header.rows
        self.progress.questions_known += sum(header.questions)

    def _finish(self, settled: Any) -> None:
        header = self.settling.pop(settled)
        self.receipts.append(ray.get(settled))
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


@ray.remote(num_cpus=1, num_returns="streaming", runtime_env=FEEDER)
def _prepare(
    run: Run, reading: Reading, done: Collection[str], engines: int
) -> Iterator[Header | tuple[Question, ...] | Caseload]:
    """For each caseload: its header for the driver, its questions for each engine, itself for settling.

    A template's questions always go to the same engine, which so knows whether it was asked already."""
    give_way()
    try:
        for caseload in pipeline.prepare(run, reading, done):
            parts: list[list[Question]] = [[] for _ in range(engines)]
            for question in caseload.questions:
                parts[int(question.template_id[:8], 16) % engines].append(question)
            yield Header(caseload.slice_id, caseload.rows_in, tuple(map(len, parts)))
            for part in parts:
                yield tuple(part)
            yield caseload
    except ShardUnreadable as problem:
        yield Header(unreadable=Unreadable(reading.shard.uri, problem.what))


@ray.remote(
    num_cpus=0, runtime_env=FEEDER
)  # bounded by the slices in flight; a share of a core could not be had while readers wait
def _settle(run: Run, caseload: Caseload, *judgements: Judgement) -> Receipt:
    give_way()
    return pipeline.settle(run, caseload, sum(judgements, Judgement()))
