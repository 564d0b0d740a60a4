"""Join a Ray cluster or start one here, stop on signals, and say what Ray's errors mean."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import Any

import ray
import ray.exceptions

from triage.engine.generate import EngineLost
from triage.errors import Stopped, TriageError

_OBJECT_STORE_BYTES = 1 << 30


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
def stop_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run as Stopped: what is committed stays."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(f"stopped by {signal.Signals(number).name}", next="start the same command again: it resumes")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def meaning(problem: ray.exceptions.RayError) -> TriageError:
    """What an error of Ray's means to the user."""
    cause = getattr(problem, "cause", None)
    if isinstance(cause, TriageError):
        return cause
    if isinstance(problem, ray.exceptions.RayActorError):
        return EngineLost("the engine's process died", next="start the same command again: it resumes")
    if isinstance(problem, ray.exceptions.RayTaskError):
        return TriageError(f"a step failed ({type(cause).__name__ if cause else 'unknown'})", next="see OUTPUT/logs")
    return Stopped(f"Ray lost something ({type(problem).__name__})", next="start the same command again: it resumes")
