"""What the two passes ask of an engine, and what it gives back: the seam between them and vLLM.

A test may put another engine behind `Engine`; a user never gets one but `engine.vllm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from triage.errors import TriageError
from triage.records import Usage

SAMPLING: Final = {"temperature": 0, "label": "one token, the most probable of the labels' tokens"}
"""How answers are drawn, for the identity of answers."""


class EngineLost(TriageError):
    """The engine is gone. Says nothing of the row that was asked: its slice stays uncommitted."""

    exit_code = 4


class QuestionRefused(TriageError):
    """The engine would not take this one question."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How one answer is drawn. Always at temperature 0: the answer is the most probable one."""

    max_tokens: int
    allowed_tokens: tuple[int, ...] = ()  # the answer is one of these, and their probabilities are wanted
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    token_probabilities: Mapping[int, float]  # over `allowed_tokens`; empty where none were given
    finished: bool  # False where `max_tokens` cut it
    usage: Usage


class Tokenizer(Protocol):
    """What rendering needs of a Hugging Face tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool = ..., split_special_tokens: bool = ...) -> list[int]: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


class Engine(Protocol):
    """One loaded model. `generate` may be called many times at once."""

    tokenizer: Tokenizer
    max_model_len: int

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        """Raises EngineLost, or QuestionRefused for this prompt alone."""
        ...

    def about(self) -> dict[str, Any]:
        """What this engine is and how it was set: for the run's account."""
        ...

    def counters(self) -> dict[str, float]:
        """The engine's own counters, by its names."""
        ...

    def close(self) -> None: ...
