"""vLLM in this process: the only importer of vllm and torch, and the only engine a user ever gets.

Promises: loads from a folder of safetensors and never runs code from it; greedy answers; the probabilities are those
over the allowed tokens; the engine's death is EngineLost for all, a bad prompt is QuestionRefused for one.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from triage.engine.generate import Asking, Completion, EngineLost, QuestionRefused, Tokenizer
from triage.records import Usage


@dataclass(frozen=True, slots=True)
class Settings:
    """What the job file says of the engine."""

    max_model_len: int = 2048
    tensor_parallel: int = 1
    prefix_caching: bool = True
    gpu_share: float = 1.0  # of the GPU memory that engines may use: a cascade has two on one GPU


GPU_MEMORY = 0.9
"""Share of a GPU's memory that engines may use."""

CPU_OPTIONS: Mapping[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,  # compiling takes minutes and gains little here
    "block_size": 32,  # only whole blocks of a shared prefix are reused, and the CPU's default is 128
    "max_num_seqs": 128,
    "max_num_batched_tokens": 2048,  # larger batches were slower
}
GPU_OPTIONS: Mapping[str, Any] = {
    "dtype": "auto",
    "max_num_seqs": 512,
    "max_num_batched_tokens": 16_384,
}


class VllmEngine:
    """One `AsyncLLM`. Make it inside a running event loop, and `close` it."""

    def __init__(self, weights: Path, settings: Settings) -> None:
        _prepare_process()
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs
        from vllm.config import StructuredOutputsConfig
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        self.tokenizer = cast(Tokenizer, AutoTokenizer.from_pretrained(weights, local_files_only=True))
        self.max_model_len = settings.max_model_len
        self.device = "cpu" if current_platform.is_cpu() else "gpu"
        self.options: dict[str, Any] = {
            **(CPU_OPTIONS if self.device == "cpu" else GPU_OPTIONS),
            **({} if self.device == "cpu" else {"gpu_memory_utilization": GPU_MEMORY * settings.gpu_share}),
            "max_model_len": settings.max_model_len,
            "tensor_parallel_size": settings.tensor_parallel,
            "enable_prefix_caching": settings.prefix_caching,
            "load_format": "safetensors",
            "trust_remote_code": False,
            # The default gives probabilities over all tokens, before the restriction to the labels'.
            "logprobs_mode": "processed_logprobs",
            "structured_outputs_config": StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True),
            "seed": 0,
        }
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=str(weights), **self.options, enable_log_requests=False)
        )
        self._numbers = itertools.count()

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        """One answer to one tokenised prompt. Raises EngineLost or QuestionRefused."""
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            stream = self._llm.generate(
                TokensPrompt(prompt_token_ids=prompt), _sampling(asking), request_id=str(next(self._numbers))
            )
            answers = [answer async for answer in stream]  # one, finished; read to its end, so that it is not aborted
        except EngineDeadError:
            raise EngineLost("the vLLM engine died", next="start the same command again: it resumes") from None
        except (ValueError, EngineGenerateError) as refusal:
            # The message of either may quote the prompt.
            raise QuestionRefused(type(refusal).__name__) from None
        if not answers or not answers[-1].finished:
            raise EngineLost("the vLLM engine stopped answering", next="start the same command again: it resumes")
        answer = answers[-1]
        output = answer.outputs[0]
        first = output.logprobs[0] if output.logprobs else {}
        return Completion(
            text=output.text,
            token_probabilities={
                token: math.exp(first[token].logprob) for token in asking.allowed_tokens if token in first
            },
            finished=output.finish_reason == "stop" or bool(asking.allowed_tokens),
            usage=Usage(len(prompt), answer.num_cached_tokens or 0, len(output.token_ids)),
        )

    def about(self) -> dict[str, Any]:
        """What this engine is and how it was set."""
        options = {name: value for name, value in self.options.items() if isinstance(value, str | int | float | bool)}
        return {**describe(), "options": options}

    def counters(self) -> dict[str, float]:
        """vLLM's own counters, by their names, as it keeps them for Prometheus."""
        from vllm.v1.metrics.reader import Counter, get_metrics_snapshot

        return {metric.name: float(metric.value) for metric in get_metrics_snapshot() if isinstance(metric, Counter)}

    async def forget(self) -> None:
        """Drop the cached prefixes."""
        await self._llm.reset_prefix_cache()

    def close(self) -> None:
        self._llm.shutdown()


def describe() -> dict[str, str]:
    """Name and version of the engine, and the device it would use here."""
    _prepare_process()
    import torch
    import vllm
    from vllm.platforms import current_platform

    device = "cpu" if current_platform.is_cpu() else current_platform.get_device_name()
    return {"engine": "vllm", "version": vllm.__version__, "torch": torch.__version__, "device": device}


def _prepare_process() -> None:
    """Environment that must stand before vLLM is imported."""
    cores = sorted(os.sched_getaffinity(0))
    # Ray gives its workers one thread each, and vLLM keeps a core back: on a small machine both cost half of it.
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    if len(cores) <= 8:
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))


def _sampling(asking: Asking) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        temperature=0.0,
        max_tokens=asking.max_tokens,
        allowed_token_ids=list(asking.allowed_tokens) or None,
        logprobs=len(asking.allowed_tokens) or None,
        detokenize=not asking.allowed_tokens,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=dict(asking.json_schema)) if asking.json_schema else None,
    )
