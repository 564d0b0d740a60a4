"""A low-rank adapter (LoRA, in peft's format) merged into the weights it was taught on.

    DIR/adapter_model.safetensors, DIR/adapter_config.json, DIR/lineage.json (how it was taught; optional)

Promises: every tensor of the adapter lands in a weight of its shape or the merge is refused; the lineage that enters
the registry holds the adapter's own SHA-256, so that a model's entry says which adapter it was made with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from triage.custody import registry
from triage.errors import WrongInput

_START: Final = "base_model.model."
_ENDS: Final = (".lora_A.weight", ".lora_B.weight")


def merge(model: Path, adapter: Path) -> dict[str, Any]:
    """Add the adapter's updates, alpha / r * B A, to the float weights of the one-file model in `model`, in place.
    Returns the lineage. Raises WrongInput for what is not such an adapter, or of another model."""
    config = _json(adapter / "adapter_config.json")
    path = adapter / "adapter_model.safetensors"
    try:
        updates = load_file(path)
        scale = float(config["lora_alpha"]) / float(config["r"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise WrongInput("not an adapter", where=str(adapter), expected="LoRA as peft saves it") from None
    file = model / "model.safetensors"
    tensors = load_file(file)
    for name in sorted({name.removesuffix(end) for name in updates for end in _ENDS if name.endswith(end)}):
        target = f"{name.removeprefix(_START)}.weight"
        low, high = (updates.get(f"{name}{end}") for end in _ENDS)
        if low is None or high is None or target not in tensors or tensors[target].shape != (len(high), low.shape[1]):
            raise WrongInput(f"the update {name} does not fit the model", where=str(adapter), expected=target)
        update = scale * high.astype(np.float32) @ low.astype(np.float32)
        tensors[target] = (tensors[target].astype(np.float32) + update).astype(tensors[target].dtype)
    save_file(tensors, file, metadata={"format": "pt"})
    lineage = _json(adapter / "lineage.json") if (adapter / "lineage.json").exists() else {}
    return {**lineage, "adapter_sha256": registry.sha256_of(path)}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        raise WrongInput("cannot be read", where=str(path), expected="a JSON object") from None
    if not isinstance(value, dict):
        raise WrongInput("is no JSON object", where=str(path))
    return value
