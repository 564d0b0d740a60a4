"""Prompt files to tokens.

Promises: the part that all questions share comes first and is the same tokens every time, so that the engine
computes it once; the line is tokenised apart from it, with the model's control tokens as plain text, so that no
line can end its fence or speak in another role; the model reads a line's letters as a person sees them; the same
prompt file and tokenizer give the same tokens always. Covers control tokens the tokenizer knows and the shapes that
chat formats use. Does not judge what a line says.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from importlib import resources

from jinja2.exceptions import TemplateError

from triage.columns import LABELS, Label
from triage.engine.generate import Tokenizer
from triage.errors import WrongInput
from triage.records import digest_of

_LINE = "{line}"
_SECTIONS = ("system", "question", "label", "explain")
_CONTROL = re.compile(
    r"<(?=[|｜])|(?<=[|｜])>|<{3,}|>{3,}|\[(?=/?INST\])|<(?=/?s>)|<(?=<?/?SYS>)|<(?=(?:start|end)_of_turn>)",
    re.IGNORECASE,
)
_LEAST_ROOM = 32  # tokens; a line is cut into windows of this size
_APART = {"<": "‹", ">": "›", "[": "⟦"}


# Full-width and mathematical letters, and the letter-like symbols that stand in the gaps of the mathematical ones.
_LOOK_ALIKE_BLOCKS = (range(0xFF01, 0xFF5F), range(0x1D400, 0x1D800), range(0x2100, 0x2150))
_FOLDED: dict[int, str | None] = {
    code: plain
    for block in _LOOK_ALIKE_BLOCKS
    for code in block
    if len(plain := unicodedata.normalize("NFKC", chr(code))) == 1 and plain.isascii()
}
# What nobody sees: format characters (bidirectional, tags, joiners, zero-width), variation selectors, fillers.
_FOLDED |= dict.fromkeys(
    [
        *(code for code in range(0x1E000) if unicodedata.category(chr(code)) == "Cf"),
        *range(0xE0000, 0xE1000),  # beyond is no other
        *range(0xFE00, 0xFE10),
        *map(ord, "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"),
    ]
)


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The sections of a prompt file; `digest` is over its bytes."""

    name: str
    system: str
    question: str
    label: str
    explain: str
    examples: tuple[tuple[Label, str], ...]  # (label, line), shown as turns before the question; may be none
    digest: str


def load(name: str) -> PromptFile:
    """The prompt `name` of `triage/engine/prompts`. Raises WrongInput where there is none, or a section is missing."""
    folder = resources.files("triage.engine") / "prompts"
    file = folder / f"{name}.md"
    if not file.is_file():
        known = sorted(p.name.removesuffix(".md") for p in folder.iterdir())
        raise WrongInput(f"no prompt {name!r}", where="[judge] prompt", expected=f"one of {', '.join(known)}")
    text = file.read_text(encoding="utf-8")
    parts = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], (body.strip() for body in parts[2::2]), strict=True))
    if missing := [s for s in _SECTIONS if s not in sections] or _LINE not in sections["question"]:
        raise WrongInput(f"the prompt lacks {missing}", where=str(file), expected=f"sections {', '.join(_SECTIONS)}")
    examples = tuple(_example(str(file), told) for told in sections.get("examples", "").splitlines())
    return PromptFile(name, **{s: sections[s] for s in _SECTIONS}, examples=examples, digest=digest_of(text))


def _example(file: str, told: str) -> tuple[Label, str]:
    label, _, line = told.partition(" | ")
    for known in LABELS:
        if label == known and line:
            return known, line
    raise WrongInput("an example is not sound", where=file, expected="label | line, one a line")


def neutralised(text: str) -> str:
    """`text` as a person sees it, with what could be read as the fence or as chat control replaced by look-alikes.

    Full-width and mathematical forms of ASCII become ASCII, and what is invisible is left out: before control is looked
    for, which could otherwise be put together from them.
    """
    if not text.isascii():
        text = text.translate(_FOLDED)
    return _CONTROL.sub(lambda found: "".join(_APART[c] for c in found.group()), text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file rendered for one tokenizer: token lists to put around a line's tokens."""

    file: PromptFile
    tokenizer: Tokenizer
    prefix: list[int]  # shared by all questions
    ask: list[int]  # after the line, up to where the label is due
    explain: dict[Label, list[int]]  # after the line, for each label, up to where the JSON is due
    labels: dict[Label, int]  # label -> its one token

    @classmethod
    def render(cls, file: PromptFile, tokenizer: Tokenizer) -> Prompt:
        """Raises WrongInput for a model without a chat template, or whose labels are not one distinct token each."""
        mark = "\x00line\x00"
        question = file.question.replace(_LINE, mark)
        opening = [{"role": "system", "content": file.system}]
        for label, line in file.examples:
            shown = file.question.replace(_LINE, neutralised(line))
            opening += [
                {"role": "user", "content": shown},
                {"role": "assistant", "content": f"{file.label} {label}"},
            ]
        opening.append({"role": "user", "content": question})
        before, after = _chat(tokenizer, opening).split(mark)
        ask = _tokens(tokenizer, after + file.label)
        labels: dict[Label, int] = {}
        for label in LABELS:
            # The label's token as it stands in running text, after the words that ask for it.
            longer = _tokens(tokenizer, f"{after}{file.label} {label}")
            if longer[:-1] != ask or longer[-1] in labels.values():
                raise WrongInput(
                    f"the label {label!r} is not one token of this model, and its own",
                    where=f"prompt {file.name}",
                    expected="a model whose tokenizer has each label as one token",
                    next="choose another model",
                )
            labels[label] = longer[-1]
        explain = {}
        for label in LABELS:
            answered = [
                *opening,
                {"role": "assistant", "content": f"{file.label} {label}"},
                {"role": "user", "content": file.explain},
            ]
            explain[label] = _tokens(tokenizer, _chat(tokenizer, answered).split(mark)[1])
        return cls(file, tokenizer, _tokens(tokenizer, before), ask, explain, labels)

    def line(self, text: str) -> list[int]:
        """The line's own tokens, none of them a control token."""
        return self.tokenizer.encode(neutralised(text), add_special_tokens=False, split_special_tokens=True)

    def room(self, max_model_len: int, answer_tokens: int) -> int:
        """Tokens that a line may have, so that either question and its answer fit in the model's context. Raises
        WrongInput where that is next to nothing."""
        longest = max(len(self.ask), *(len(tail) for tail in self.explain.values()))
        taken = len(self.prefix) + longest + answer_tokens
        if max_model_len < taken + _LEAST_ROOM:
            raise WrongInput(
                f"max_model_len {max_model_len} leaves no room for a line",
                where="[model]",
                expected=f"{taken + _LEAST_ROOM} or more with prompt {self.file.name} and this model",
            )
        return max_model_len - taken


def _chat(tokenizer: Tokenizer, conversation: list[dict[str, str]]) -> str:
    try:
        text = _templated(tokenizer, conversation)
    except ValueError:
        raise WrongInput(
            "the model has no chat template", where="[model] name", expected="an instruction-tuned model"
        ) from None
    return str(text)


def _templated(tokenizer: Tokenizer, conversation: list[dict[str, str]]) -> str:
    # Templates of models that think before they answer know this switch; the others take no notice of it.
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    try:
        return str(tokenizer.apply_chat_template(conversation, **options))
    except TemplateError:
        # A format without a system turn: what it would say goes before the first question.
        (system, first, *others) = conversation
        merged = first | {"content": f"{system['content']}\n\n{first['content']}"}
        return str(tokenizer.apply_chat_template([merged, *others], **options))


def _tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))
