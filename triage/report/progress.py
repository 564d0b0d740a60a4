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


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at a run."""

    rows_prepared: int
    rows_committed: int
    questions_known: int
    questions_answered: int
    tokens: int  # prompt and output
    share_read: float  # of the planned bytes, 0 to 1


Show = Callable[[Standing], None]


@contextmanager
def showing(quiet: bool = False) -> Iterator[Show]:
    """What to call with each new standing while the block runs."""
    started = time.monotonic()
    if quiet:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield _logged(started)
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading the engine", total=None, detail="")

        def show(standing: Standing) -> None:
            share = fraction(standing)
            detail = (
                f"{standing.rows_committed:,} of {standing.rows_prepared:,} rows read · "
                f"{standing.questions_answered:,} questions · "
                f"{tokens_per_second(standing, time.monotonic() - started):,.0f} tokens/s · "
                f"{_left(share, time.monotonic() - started)}"
            )
            bar.update(task, description="judging", total=1.0, completed=share, detail=detail)

        yield show


def fraction(standing: Standing) -> float:
    """The share of the work that is done, 0 to 1: answers given of those to come, where the questions of what was
    not read yet are taken to be as many for each byte as of what was."""
    if standing.questions_known == 0:
        return standing.share_read if standing.rows_committed == standing.rows_prepared else 0.0
    expected = standing.questions_known / max(standing.share_read, 0.01)
    return min(standing.questions_answered / expected, 1.0)


def tokens_per_second(standing: Standing, seconds: float) -> float:
    return standing.tokens / seconds if seconds else 0.0


def _left(share: float, seconds: float) -> str:
    if share <= 0.01:
        return "time left: not known yet"
    left = seconds * (1 - share) / share
    return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"


def _logged(started: float) -> Show:
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    log.info("run.started")
    last = 0.0

    def show(standing: Standing) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LOG_SECONDS:
            return
        last = now
        share, seconds = fraction(standing), now - started
        log.info(
            "run.progress",
            rows_prepared=standing.rows_prepared,
            rows_committed=standing.rows_committed,
            questions_known=standing.questions_known,
            questions_answered=standing.questions_answered,
            tokens_per_second=round(tokens_per_second(standing, seconds)),
            seconds_left=round(seconds * (1 - share) / share) if share > 0.01 else None,
        )

    return show
