"""Which form of Ray keeps the engine fullest: tasks and actors with references (what ships), or Ray Data with
slices as its rows.

    .venv/bin/python benchmarks/ray_shape.py [--rows 20000] [--rounds 3]

Both forms call the same `pipeline.prepare`, `judge` and `settle` over the same shard, with a simulated engine of fixed
service (so many questions at once, so long each) that needs no core of its own. Utilisation is the time that the
engine would need if it were never idle, over the time from plan to last commit. In turns; medians and all values.
The simulated engine measures the feeding alone: nothing here says what vLLM does.
"""

from __future__ import annotations

import argparse
import asyncio
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from triage import cluster, job, pipeline
from triage.cluster.judge import Judge
from triage.engine import prompt as prompts
from triage.engine.generate import Asking, Completion, Engine, Tokenizer
from triage.engine.vllm import Settings
from triage.records import Caseload, Judgement, Question, Reading, Usage
from triage.run import Run, load_run
from triage.verdicts import commit

import ray  # isort: skip  (after triage.cluster, which sets what Ray reads at import)

AT_ONCE, SERVICE_SECONDS, IN_FLIGHT = 64, 0.1, 4


class Letters:
    """A tokenizer of no cost to speak of."""

    def encode(self, text: str, *, add_special_tokens: bool = False, split_special_tokens: bool = False) -> list[int]:
        return [len(word) for word in text.split()] or [0]

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        return "\n".join(turn["content"] for turn in conversation) + "\n"


class Simulated:
    """So many questions at once, so long each, always benign."""

    def __init__(self, weights: Path, settings: Settings) -> None:
        self.tokenizer, self.max_model_len = Letters(), 1 << 20
        self.free = asyncio.Semaphore(AT_ONCE)

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        async with self.free:
            await asyncio.sleep(SERVICE_SECONDS)
        benign, review, escalate = asking.allowed_tokens
        return Completion("", {benign: 0.9, review: 0.06, escalate: 0.04}, True, Usage(len(prompt), 0, 1))

    def about(self) -> dict[str, Any]:
        return {}

    def counters(self) -> dict[str, float]:
        return {}

    def close(self) -> None: ...


def rendered(run: Run) -> prompts.Prompt:
    return prompts.Prompt(
        run.prompt,
        cast(Tokenizer, Letters()),
        [1] * 174,
        [1] * 24,
        {"review": [1]},
        {"benign": 1, "review": 2, "escalate": 3},
    )


class SimulatedJudge(Judge):
    """The product's actor around the simulated engine."""

    async def load(self) -> None:
        self.stages = [(rendered(self.run), cast(Engine, Simulated(Path(), Settings())))]

    async def judge(self, questions: tuple[Question, ...]) -> Judgement:
        self.shared.clear()  # every round asks all
        return await super().judge(questions)

    async def gauge(self) -> Any:
        from triage.engine.meter import Gauge

        return Gauge()


def tasks_and_actors(run: Run, readings: tuple[Reading, ...], pool: list[Any]) -> None:
    cluster.Driver(run, readings, (), pool, lambda _: None).drive()


class DataJudge:
    """The same, as Ray Data wants it: rows in, rows out."""

    def __init__(self, run: Run) -> None:
        self.run, self.prompt = run, rendered(run)
        self.engine: Simulated | None = None

    async def __call__(self, batch: dict[str, Any]) -> Any:
        self.engine = self.engine or Simulated(Path(), Settings())
        caseload: Caseload = pickle.loads(batch["caseload"][0])
        engine = cast(Engine, self.engine)
        judgement = await pipeline.judge(self.run, caseload.questions, self.prompt, engine)
        yield {"caseload": [batch["caseload"][0]], "judgement": [pickle.dumps(judgement)]}


def ray_data(run: Run, readings: tuple[Reading, ...], _: list[Any]) -> None:
    def prepare(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for caseload in pipeline.prepare(run, pickle.loads(row["reading"])):
            yield {"caseload": pickle.dumps(caseload)}

    def settle(row: dict[str, Any]) -> dict[str, Any]:
        receipt = pipeline.settle(run, pickle.loads(row["caseload"]), pickle.loads(row["judgement"]))
        return {"slice": receipt.slice_id}

    ray.data.DataContext.get_current().enable_progress_bars = False
    data = (
        ray.data.from_items(
            [{"reading": pickle.dumps(reading)} for reading in readings], override_num_blocks=len(readings)
        )
        .flat_map(prepare, num_cpus=0.5)
        .map_batches(
            DataJudge,
            batch_size=1,
            fn_constructor_args=(run,),
            compute=ray.data.ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=IN_FLIGHT),
            num_cpus=0.5,
            max_concurrency=IN_FLIGHT,
        )
        .map(settle, num_cpus=0.5)
    )
    assert data.materialize().count() == len(readings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-") as name:
        folder = Path(name)
        lines = (
            orjson.dumps({"message": f"unit{i} of rack{i % 97} answered in order {'x' * (i % 50)}"})
            for i in range(options.rows)
        )
        (folder / "lines.jsonl").write_bytes(b"\n".join(lines))
        (folder / "job.toml").write_text(
            '[input]\npaths = ["lines.jsonl"]\nfields = { message = "message" }\n[condense]\nlevel = "exact"\n'
            '[output]\npath = "out"\n[run]\nslice_bytes = 65536\n'
        )
        run = replace(load_run(job.load(folder / "job.toml")), run_id="benchmark")
        ideal = options.rows * SERVICE_SECONDS / AT_ONCE
        seconds: dict[str, list[float]] = {"tasks and actors": [], "Ray Data": []}
        with cluster.connected():
            commit.prepare_output(run.output)
            pool = cluster.start_pool(run, cast(cluster.LoadEngine, Simulated), SimulatedJudge)
            for turn in range(options.rounds):
                for form, do in (("tasks and actors", tasks_and_actors), ("Ray Data", ray_data)):
                    output = job.Output(path=str(folder / f"{form.replace(' ', '-')}-{turn}"))
                    this = replace(run, job=run.job.model_copy(update={"output": output}))
                    commit.prepare_output(this.output)
                    started = time.monotonic()
                    do(this, pipeline.plan(this).readings, pool)
                    seconds[form].append(time.monotonic() - started)
                    print(
                        f"{form:>16}: {seconds[form][-1]:.1f} s, utilisation {ideal / seconds[form][-1]:.2f}",
                        flush=True,
                    )
    print(f"\n{options.rows:,} questions; an engine that is never idle needs {ideal:.1f} s")
    for form, values in seconds.items():
        middle, each = ideal / statistics.median(values), [round(ideal / value, 2) for value in values]
        print(f"{form:>16}: median utilisation {middle:.2f} of {each}")


if __name__ == "__main__":
    main()
