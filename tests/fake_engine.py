"""A deterministic stand-in for vLLM: for tests of everything around it. Never part of what ships."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from triage.engine.generate import Asking, Completion, EngineLost, QuestionRefused
from triage.engine.vllm import Settings
from triage.records import Usage

CHAT = "<|im_start|>{role}\n{content}<|im_end|>\n"


class WordTokenizer:
    """One token for each word, white space kept; words are numbered by their hash, so that workers agree."""

    def __init__(self) -> None:
        self.words: dict[int, str] = {}

    def encode(self, text: str, *, add_special_tokens: bool = False, split_special_tokens: bool = False) -> list[int]:
        tokens = []
        for word in _split(text):
            number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=6).digest(), "big")
            self.words[number] = word
            tokens.append(number)
        return tokens

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.words[token] for token in tokens)

    def apply_chat_template(self, conversation: Any, **options: Any) -> str:
        return "".join(CHAT.format(**turn) for turn in conversation) + "<|im_start|>assistant\n"


def _split(text: str) -> list[str]:
    words, current = [], ""
    for character in text:
        if character in " \n" and current.strip():
            words.append(current)
            current = ""
        current += character
    return [*words, current] if current else words


class FakeEngine:
    """Escalates lines with the word `attack`, reviews those with `failed`, is sure of the rest; `refuse-me`,
    `garbage-label`, `garbage-json`, `empty-json` and `kill-engine` in a line do as they say."""

    def __init__(self, weights: Path | None = None, settings: Settings | None = None) -> None:
        assert weights is None or (weights / "config.json").is_file()
        self.tokenizer = WordTokenizer()
        self.max_model_len = settings.max_model_len if settings else 2048
        self.prompts: list[str] = []
        self.dead = False

    async def generate(self, prompt: list[int], asking: Asking) -> Completion:
        await asyncio.sleep(0)
        text = self.tokenizer.decode(prompt)
        self.prompts.append(text)
        line = text.split("<<<\n", 1)[1].split("\n>>>", 1)[0]
        assert len(prompt) + asking.max_tokens <= self.max_model_len
        if "kill-engine" in line or self.dead:
            self.dead = True
            raise EngineLost("the fake engine died")
        if "refuse-me" in line:
            raise QuestionRefused("ValueError")
        usage = Usage(len(prompt), len(prompt) // 2, 1)
        if asking.allowed_tokens:
            benign, review, escalate = asking.allowed_tokens
            p = {benign: 0.9, review: 0.07, escalate: 0.03}
            if "attack" in line:
                p = {benign: 0.05, review: 0.15, escalate: 0.8}
            elif "failed" in line:
                p = {benign: 0.2, review: 0.7, escalate: 0.1}
            if "garbage-label" in line:
                p = {benign: 0.9, review: float("nan"), escalate: 0.0}
            return Completion("", p, True, usage)
        if "garbage-json" in line:
            return Completion('{"severity": "cata', {}, True, usage)
        if "empty-json" in line:
            return Completion("", {}, False, usage)
        return Completion(
            '{"severity":"high","category":"web","rationale":"because","evidence":["attack","not in the line"],'
            '"next_step":"look"}',
            {},
            True,
            usage,
        )

    def about(self) -> dict[str, Any]:
        return {"engine": "fake"}

    def counters(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.dead = True
