"""Join a Ray cluster or start one here, stop on signals, and say what Ray's errors mean."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from types import FrameType
from typing import Any

import ray
import ray.exceptions
from ray._private import ray_constants

from triage.engine.generate import EngineLost
from triage.errors import PromiseBroken, Stopped, TriageError

_OBJECT_STORE_BYTES = 1 << 30
# On a small machine the engine's threads wait for one another, so that whatever else runs holds all of them up. Ray
# ends workers that were idle for a second, and a new one costs two seconds of a core; and it puts all workers, the
# engine's too, behind the driver.
_LOCAL_CONFIG = {
    "idle_worker_killing_time_threshold_ms": 3_600_000,
    "worker_niceness": 0,
    "enable_metrics_collection": False,
}
# Worker processes of their own for the tasks that feed the engine, so that none of these becomes an engine's.
FEEDER = {"env_vars": {"TRIAGE_FEEDER": "1"}}
_FEEDER_NICENESS = 10


def give_way() -> None:
    """Let the engine go first on this node, from now on in this process."""
    os.setpriority(os.PRIO_PROCESS, 0, max(_FEEDER_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


@contextlib.contextmanager
def connected(least_cpus: int = 2) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one here that only loopback reaches and that leaves nothing behind.
    One that is started counts `least_cpus` cores at least: fewer would leave something waiting for ever."""
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
    # A cluster of this machine alone needs nobody to reach it. The address that `init` takes does not do it; this is
    # what makes Ray take loopback for the node's address and bind all its ports there. It is read at import, and by
    # Ray's own processes.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local",
            num_cpus=max(least_cpus, len(os.sched_getaffinity(0))),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _system_config=_LOCAL_CONFIG,
            _temp_dir=scratch,
            **quiet,
        )
        if not ip_address(ray.util.get_node_ip_address()).is_loopback:
            raise PromiseBroken(
                "the local cluster would listen beyond this machine",
                where=ray.util.get_node_ip_address(),
                expected="loopback",
                next="report it, with the version of ray",
            )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


class StopRequest:
    """Whether a signal asked the run to stop. Asked for and answered in the loops, since an exception out of a signal
    handler may come up where nobody can catch it."""

    def __init__(self) -> None:
        self.signal = ""

    def check(self) -> None:
        """Raise Stopped where a signal came."""
        if self.signal:
            raise Stopped(f"stopped by {self.signal}", next="start the same command again: it resumes")


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """While the block runs, Ctrl-C and SIGTERM are a request to stop."""
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
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
