"""Switches that turn off what the runtimes send home.

Covered: usage statistics and hub downloads of vLLM, Ray, Hugging Face, torch. Set in every process before those are
imported. Not covered yet: a library that ignores its own switch; nothing here stops a connection.
"""

from __future__ import annotations

import os
from typing import Final

SWITCHES: Final = {
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "OTEL_SDK_DISABLED": "true",
}


def switch_off() -> None:
    """Set every switch in this process and those it starts."""
    os.environ.update(SWITCHES)
