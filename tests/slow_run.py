"""A program that runs a job with a slow stand-in engine, for tests that kill it: `python -m tests.slow_run JOB`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import ray.cloudpickle

import tests.fake_engine
from tests.conftest import load_run
from tests.fake_engine import FakeEngine
from triage.attempt import attempt
from triage.engine.generate import Asking, Completion

SECONDS = 0.05


class SlowEngine(FakeEngine):
    """One answer after another."""

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        self.turn: asyncio.Lock = getattr(self, "turn", None) or asyncio.Lock()
        async with self.turn:
            await asyncio.sleep(SECONDS)
            return await super().generate(prompt, asking)


if __name__ == "__main__":
    ray.cloudpickle.register_pickle_by_value(tests.fake_engine)
    ended = attempt(load_run(Path(sys.argv[1])), lambda progress: None, load_engine=SlowEngine)
    sys.exit(ended.problem.exit_code if ended.problem else 0)
