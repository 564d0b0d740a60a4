"""The label pass: one token among the labels' tokens, and the probabilities of all of them.

Promises: a text too long for the model is asked in overlapping windows and the worst one counts; an answer that
cannot be read is no answer. `reason` of what stays undecided never quotes the text.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from triage.columns import LABELS, Label
from triage.engine.explain import ANSWER_TOKENS
from triage.engine.generate import Asking, Completion, Engine, QuestionRefused
from triage.engine.prompt import Prompt
from triage.records import Usage

CONTENT_FREE: Final = ("N/A", "", "[MASK]")
"""Texts that say nothing (Zhao et al. 2021): what a model answers to them is its leaning."""

_CHARACTERS_PER_TOKEN = 32  # more than any tokenizer packs into one token of log text, but for runs of one character


@dataclass(frozen=True, slots=True)
class Labelled:
    """The label pass's result for one text: probabilities, or None and the reason; the tokens of the window that
    was worst, for the explanation; what it cost."""

    probabilities: dict[Label, float] | None
    reason: str | None
    window: list[int]
    usage: Usage
    asked: int


async def label(text: str, prompt: Prompt, engine: Engine, *, max_windows: int) -> Labelled:
    """Ask for the label of `text`. Raises EngineLost."""
    room = prompt.room(engine.max_model_len, ANSWER_TOKENS)
    too_long = Labelled(None, f"too long: more than {max_windows} windows of {room} tokens", [], Usage(), 0)
    if len(text) > max_windows * room * _CHARACTERS_PER_TOKEN:
        return too_long
    windows = overlapping(prompt.line(text), room)
    if len(windows) > max_windows:
        return too_long
    asking = Asking(max_tokens=1, allowed_tokens=tuple(prompt.labels.values()))
    try:
        completions = await asyncio.gather(
            *(engine.generate([*prompt.prefix, *window, *prompt.ask], asking) for window in windows)
        )
    except QuestionRefused as refusal:
        return Labelled(None, f"refused by the engine: {refusal.what}", [], Usage(), len(windows))
    usage = sum((c.usage for c in completions), Usage())
    read = [probabilities(completion, prompt) for completion in completions]
    if any(p is None for p in read):
        return Labelled(None, "the answer is not one of the labels", [], usage, len(windows))
    worst = max(range(len(windows)), key=lambda i: urgency(read[i] or {}))
    return Labelled(read[worst], None, windows[worst], usage, len(windows))


async def leaning(prompt: Prompt, engine: Engine) -> tuple[dict[Label, float] | None, Usage]:
    """(the model's mean answer to texts without content, None where it cannot be read; what it cost). Raises
    EngineLost."""
    told = [await label(text, prompt, engine, max_windows=1) for text in CONTENT_FREE]
    usage = sum((one.usage for one in told), Usage())
    answers = [one.probabilities for one in told if one.probabilities]
    if len(answers) < len(CONTENT_FREE):
        return None, usage
    return {name: math.fsum(p[name] for p in answers) / len(answers) for name in LABELS}, usage


def overlapping(tokens: list[int], room: int) -> list[list[int]]:
    """`tokens` in windows of at most `room`, each sharing an eighth with the one before. At least one window."""
    if len(tokens) <= room:
        return [tokens]
    step = room - room // 8
    return [tokens[start : start + room] for start in range(0, len(tokens) - room // 8, step)]


def probabilities(completion: Completion, prompt: Prompt) -> dict[Label, float] | None:
    """Label probabilities that sum to one, None where the answer is not exactly a distribution over the labels."""
    found: dict[Label, float] = {}
    for name in LABELS:
        p = completion.token_probabilities.get(prompt.labels[name], math.nan)
        if not 0 <= p <= 1:
            return None
        found[name] = p
    total = math.fsum(found.values())
    if not 0.99 <= total <= 1.01:
        return None
    return {name: p / total for name, p in found.items()}


def urgency(p: dict[Label, float]) -> float:
    """How far from benign, from 0 to 2: the expected rank of the label."""
    return p.get("review", 0.0) + 2 * p.get("escalate", 0.0)
