"""The explanation pass: JSON under a schema, for what is not benign."""

from __future__ import annotations

from typing import Any, Final

from triage.columns import CATEGORIES, SEVERITIES, Label
from triage.engine.generate import Asking, Completion, Engine, QuestionRefused
from triage.engine.prompt import Prompt
from triage.records import Usage

ANSWER_TOKENS: Final = 192

# Lengths are bounded so that an answer is whole within its tokens, and because every token is paid for.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "category": {"type": "string", "enum": list(CATEGORIES)},
        "rationale": {"type": "string", "maxLength": 160},
        "evidence": {"type": "array", "items": {"type": "string", "maxLength": 80}, "maxItems": 2},
        "next_step": {"type": "string", "maxLength": 100},
    },
    "required": ["severity", "category", "rationale", "evidence", "next_step"],
    "additionalProperties": False,
}


async def explain(window: list[int], label: Label, prompt: Prompt, engine: Engine) -> Completion:
    """The JSON for a line's tokens that were labelled `label`. Raises EngineLost; a question that the engine
    refuses comes back unfinished and empty."""
    asking = Asking(max_tokens=ANSWER_TOKENS, json_schema=SCHEMA)
    try:
        return await engine.generate([*prompt.prefix, *window, *prompt.explain[label]], asking)
    except QuestionRefused:
        return Completion("", {}, finished=False, usage=Usage())
