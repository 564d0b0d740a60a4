"""The pool of actors, each with one engine whose weights it proved itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from triage import pipeline
from triage.custody.verify import proved
from triage.engine import prompt as prompts
from triage.engine.explain import ANSWER_TOKENS
from triage.engine.generate import Engine
from triage.engine.meter import Gauge, Metered
from triage.engine.vllm import Settings
from triage.errors import TriageError, WrongInput
from triage.records import Judgement, Question
from triage.run import Run

LoadEngine = Callable[[Path, Settings], Engine]


class Judge:
    """The actor: one engine, and many caseloads in flight in it."""

    def __init__(self, run: Run, load_engine: LoadEngine, log: Path) -> None:
        self.run, self.load_engine, self.log = run, load_engine, log
        self.engine: Metered | None = None
        self.shared: pipeline.Shared = {}
        self.repeats = 0

    async def load(self) -> None:
        """Prove the weights, load them, render the prompt; once. Raises PromiseBroken, WrongInput or TriageError."""
        if self.engine:
            return
        _noise_to(self.log)
        model = self.run.job.model
        private = Path(tempfile.mkdtemp(prefix="triage-weights-"))
        try:
            with proved(self.run.model, private) as weights:
                settings = Settings(model.max_model_len, model.tensor_parallel, model.prefix_caching)
                engine = Metered(self.load_engine(weights, settings))
        except TriageError:
            raise
        except Exception as problem:
            traceback.print_exc()  # to the log that is named: no row was read yet, so it holds no log text
            raise TriageError(
                f"the engine could not be loaded ({type(problem).__name__})", where=str(self.log), next="read that file"
            ) from None
        finally:
            shutil.rmtree(private, ignore_errors=True)
        self.prompt = prompts.Prompt.render(self.run.prompt, engine.tokenizer)
        self.prompt.room(engine.max_model_len, ANSWER_TOKENS)  # a context too small is said before any question
        self.engine = engine

    async def judge(self, questions: tuple[Question, ...]) -> Judgement:
        assert self.engine  # what is sent after `load` is done after it
        judgement = await pipeline.judge(self.run, questions, self.prompt, self.engine, self.shared)
        self.repeats += sum(answer.asked == 0 for answer in judgement.answers)
        return judgement

    async def gauge(self) -> Gauge:
        return (self.engine.read() if self.engine else Gauge()) + Gauge(repeats=self.repeats)

    async def describe(self) -> tuple[dict[str, Any], dict[str, float]]:
        """What the engine is, and its own counters."""
        return (self.engine.about(), self.engine.counters()) if self.engine else ({}, {})

    async def close(self) -> None:
        if self.engine:
            self.engine.close()


def start_pool(run: Run, load_engine: LoadEngine, judge: type[Judge] = Judge) -> list[Any]:
    """The actors, as many as the job says or the GPUs allow; none has loaded its engine yet. Raises WrongInput where
    the cluster has no room for them."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    model = run.job.model
    count = model.replicas or max(1, gpus // model.tensor_parallel)
    resources = {"num_gpus": model.tensor_parallel, "num_cpus": 1} if gpus else {"num_cpus": 1}
    if gpus and count * model.tensor_parallel > gpus:
        raise WrongInput(
            f"{count} engines of {model.tensor_parallel} GPUs each, and the cluster has {gpus} GPUs",
            where="[model] replicas",
        )
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < count + 1:
        raise WrongInput(
            f"{count} engines and a reader need {count + 1} cores, and the cluster has {cpus}",
            where="[model] replicas",
        )
    shared = ray.put(run)
    actor: Any = ray.remote(max_concurrency=run.job.run.slices_in_flight + 8, **resources)(judge)
    return [
        actor.remote(shared, load_engine, run.output / "logs" / f"engine-{run.attempt}-{number}.log")
        for number in range(count)
    ]


def _noise_to(log: Path) -> None:
    """Send what this process and its children print to `log`, where this node can write there."""
    with contextlib.suppress(OSError):
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.close(target)
