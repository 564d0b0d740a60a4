"""How far a run is: a bar on a terminal, structured log lines elsewhere. Never log text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LOG_SECONDS = 5.0
EXPLANATION = 10  # what one explanation takes, in label questions: a hundred tokens one by one, against one


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at a run."""

    rows_prepared: int
    rows_committed: int
    questions_known: int
    questions_answered: int
    explanations_known: int
    explanations_answered: int
    tokens: int  # prompt and output
    share_read: float  # of the planned bytes, 0 to 1


Show = Callable[[Standing], None]


@contextmanager
def showing(quiet: bool = False) -> Iterator[Show]:
    """What to call with each new standing while the block runs."""
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield _logged()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    clock = _Clock()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("planning", total=None, detail="")

        def show(standing: Standing) -> None:
            seconds = clock.seconds(standing)
            if standing.questions_known == 0 and standing.rows_committed == 0:
                bar.update(task, description="loading the engine")
                return
            share = fraction(standing)
            detail = (
                f"{standing.rows_committed:,} of {standing.rows_prepared:,} rows read · "
                f"{standing.questions_answered + standing.explanations_answered:,} answers · "
                f"{tokens_per_second(standing, seconds):,.0f} tokens/s · {_left(seconds_left(share, seconds))}"
            )
            bar.update(task, description="judging", total=1.0, completed=share, detail=detail)

        yield show


class _Clock:
    """Seconds since there was something to judge: loading an engine says nothing of the time that is left."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, standing: Standing) -> float:
        if self._since is None and standing.questions_known:
            self._since = time.monotonic()
        return time.monotonic() - self._since if self._since else 0.0


def fraction(standing: Standing) -> float:
    """The share of the work that is done, 0 to 1: answers given of those to come, where the questions of what was
    not read yet are taken to be as many for each byte as of what was."""
    if standing.questions_known == 0:
        return standing.share_read if standing.rows_committed == standing.rows_prepared else 0.0
    known = standing.questions_known + EXPLANATION * standing.explanations_known
    answered = standing.questions_answered + EXPLANATION * standing.explanations_answered
    return min(answered * max(standing.share_read, 0.01) / known, 1.0)


def tokens_per_second(standing: Standing, seconds: float) -> float:
    return standing.tokens / seconds if seconds else 0.0


def seconds_left(share: float, seconds: float) -> float | None:
    """None while too little is done to tell."""
    return seconds * (1 - share) / share if share > 0.01 and seconds else None


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _logged() -> Show:
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    clock = _Clock()
    last: float | None = None

    def show(standing: Standing) -> None:
        nonlocal last
        seconds, now = clock.seconds(standing), time.monotonic()
        if last is None:
            log.info("run.started")
        elif now - last >= LOG_SECONDS:
            left = seconds_left(fraction(standing), seconds)
            log.info(
                "run.progress",
                rows_prepared=standing.rows_prepared,
                rows_committed=standing.rows_committed,
                questions_known=standing.questions_known,
                questions_answered=standing.questions_answered,
                explanations_known=standing.explanations_known,
                explanations_answered=standing.explanations_answered,
                tokens_per_second=round(tokens_per_second(standing, seconds)),
                seconds_left=None if left is None else round(left),
            )
        else:
            return
        last = now

    return show
