"""Count what an engine is asked and how long it is at work, whatever engine it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from triage.engine.generate import Asking, Completion, Engine
from triage.records import Usage


@dataclass(frozen=True, slots=True)
class Gauge:
    """Totals since the engine was loaded. `busy_seconds` is the time with at least one answer outstanding."""

    labels: int = 0
    repeats: int = 0  # questions that were not asked, since they had been
    explanations: int = 0
    explanations_begun: int = 0
    usage: Usage = field(default_factory=Usage)
    busy_seconds: float = 0.0

    def __add__(self, other: Gauge) -> Gauge:
        return Gauge(
            self.labels + other.labels,
            self.repeats + other.repeats,
            self.explanations + other.explanations,
            self.explanations_begun + other.explanations_begun,
            self.usage + other.usage,
            self.busy_seconds + other.busy_seconds,
        )


class Metered:
    """An engine that counts. Everything else is the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokenizer = engine.tokenizer
        self.max_model_len = engine.max_model_len
        self._total = Gauge()
        self._in_flight = 0
        self._busy_since = 0.0

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        if self._in_flight == 0:
            self._busy_since = time.monotonic()
        self._in_flight += 1
        is_label = bool(asking.allowed_tokens)
        self._total += Gauge(explanations_begun=int(not is_label))
        try:
            completion = await self._engine.generate(prompt, asking)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._total += Gauge(busy_seconds=time.monotonic() - self._busy_since)
        self._total += Gauge(labels=int(is_label), explanations=int(not is_label), usage=completion.usage)
        return completion

    def about(self) -> dict[str, Any]:
        return self._engine.about()

    def counters(self) -> dict[str, float]:
        return self._engine.counters()

    def close(self) -> None:
        self._engine.close()

    def read(self) -> Gauge:
        running = time.monotonic() - self._busy_since if self._in_flight else 0.0
        return self._total + Gauge(busy_seconds=running)
