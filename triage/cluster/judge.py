"""The pool of actors, each with one engine (or, for a cascade, two) whose weights it proved itself."""

from __future__ import annotations

import asyncio
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
from triage.engine import label as label_pass
from triage.engine import prompt as prompts
from triage.engine.explain import ANSWER_TOKENS
from triage.engine.generate import Engine, EngineLost
from triage.engine.meter import Gauge, Meter, Metered
from triage.engine.vllm import Settings
from triage.errors import TriageError, WrongInput
from triage.judge import Asked, Shared
from triage.records import Judgement, Question
from triage.run import Run, Stage

LoadEngine = Callable[[Path, Settings], Engine]


class Judge:
    """The actor: an engine for each stage of the run, and many caseloads in flight in them."""

    def __init__(self, run: Run, load_engine: LoadEngine, log: Path) -> None:
        self.run, self.load_engine, self.log = run, load_engine, log
        self.stages: list[Asked] = []
        self.meter = Meter()
        self.leanings: list[dict[str, Any]] = []
        self.shared: Shared = {}
        self.loading = asyncio.Lock()  # questions that are sent after `load` wait for its end
        self.repeats = 0

    async def load(self) -> None:
        """Prove the weights, load them, render the prompt; once. Raises PromiseBroken, WrongInput or TriageError."""
        async with self.loading:
            if self.stages:
                return
            _noise_to(self.log)
            cascade = self.run.job.cascade
            shares = (1 - cascade.gpu_share, cascade.gpu_share) if cascade else (1.0,)
            loaded = [await self._load(stage, share) for stage, share in zip(self.run.stages, shares, strict=True)]
            self.stages = loaded

    async def _load(self, stage: Stage, share: float) -> Asked:
        model = self.run.job.model
        private = Path(tempfile.mkdtemp(prefix="triage-weights-"))
        try:
            with proved(stage.model, private) as weights:
                engine = self.load_engine(
                    weights, Settings(model.max_model_len, model.tensor_parallel, model.prefix_caching, share)
                )
        except TriageError:
            raise
        except Exception as problem:
            traceback.print_exc()  # to the log that is named: no row was read yet, so it holds no log text
            raise TriageError(
                f"the engine could not be loaded ({type(problem).__name__})", where=str(self.log), next="read that file"
            ) from None
        finally:
            shutil.rmtree(private, ignore_errors=True)
        prompt = prompts.Prompt.render(stage.prompt, engine.tokenizer)
        prompt.room(engine.max_model_len, ANSWER_TOKENS)  # a context too small is said before any question
        # Not metered: it is no question of the job's. It also warms the engine up.
        leaning, usage = await label_pass.leaning(prompt, engine)
        self.leanings.append({"content_free": leaning, "content_free_prompt_tokens": usage.prompt_tokens})
        return prompt, Metered(engine, self.meter)

    async def judge(self, questions: tuple[Question, ...]) -> Judgement:
        async with self.loading:
            if not self.stages:
                raise EngineLost("the engine was not loaded")
        (prompt, engine), *larger = self.stages
        second = larger[0] if larger else None
        judgement = await pipeline.judge(self.run, questions, prompt, engine, self.shared, second)
        self.repeats += sum(answer.asked == 0 for answer in judgement.answers)
        return judgement

    async def gauge(self) -> Gauge:
        return self.meter.read() + Gauge(repeats=self.repeats)

    async def describe(self) -> tuple[dict[str, Any], dict[str, float]]:
        """What the engine is, and its own counters."""
        if not self.stages:
            return {}, {}
        about, *others = [
            engine.about() | leaning for (_, engine), leaning in zip(self.stages, self.leanings, strict=True)
        ]
        # One process has one set of counters: they are of all its engines together.
        return about | ({"second": others[0]} if others else {}), self.stages[0][1].counters()

    async def close(self) -> None:
        for _, engine in self.stages:
            engine.close()


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
