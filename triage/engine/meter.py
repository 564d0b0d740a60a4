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


class Meter:
    """What one or several engines are asked, added up."""

    def __init__(self) -> None:
        self._total = Gauge()
        self._in_flight = 0
        self._busy_since = 0.0

    def begin(self, *, is_label: bool) -> None:
        if self._in_flight == 0:
            self._busy_since = time.monotonic()
        self._in_flight += 1
        self._total += Gauge(explanations_begun=int(not is_label))

    def end(self) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._total += Gauge(busy_seconds=time.monotonic() - self._busy_since)

    def answered(self, usage: Usage, *, is_label: bool) -> None:
        self._total += Gauge(labels=int(is_label), explanations=int(not is_label), usage=usage)

    def read(self) -> Gauge:
        running = time.monotonic() - self._busy_since if self._in_flight else 0.0
        return self._total + Gauge(busy_seconds=running)


class Metered:
    """An engine that counts. Everything else is the engine's own."""

    def __init__(self, engine: Engine, meter: Meter | None = None) -> None:
        self._engine = engine
        self._meter = meter or Meter()
        self.tokenizer = engine.tokenizer
        self.max_model_len = engine.max_model_len

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        is_label = bool(asking.allowed_tokens)
        self._meter.begin(is_label=is_label)
        try:
            completion = await self._engine.generate(prompt, asking)
        finally:
            self._meter.end()
        self._meter.answered(completion.usage, is_label=is_label)
        return completion

    def about(self) -> dict[str, Any]:
        return self._engine.about()

    def counters(self) -> dict[str, float]:
        return self._engine.counters()

    def close(self) -> None:
        self._engine.close()

    def read(self) -> Gauge:
        return self._meter.read()
