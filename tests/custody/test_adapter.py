"""An adapter lands in the weights it was taught on, whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from safetensors.numpy import load_file, save_file

from triage.custody import adapter, registry
from triage.errors import WrongInput

NAME = "base_model.model.model.layers.0.mlp.up_proj"
TARGET = "model.layers.0.mlp.up_proj.weight"


def model_in(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    tensors = {TARGET: draw.normal(size=(6, 4)).astype(np.float32), "other.weight": np.ones(3, np.float32)}
    save_file(tensors, folder / "model.safetensors")
    return folder


def adapter_in(folder: Path, tensors: dict[str, np.ndarray], **config: object) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes(orjson.dumps({"r": 2, "lora_alpha": 4, **config}))
    return folder


def low_rank(rows: int = 6, columns: int = 4) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {
        f"{NAME}.lora_A.weight": draw.normal(size=(2, columns)).astype(np.float16),
        f"{NAME}.lora_B.weight": draw.normal(size=(rows, 2)).astype(np.float16),
    }


def test_the_update_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    model, update = model_in(tmp_path / "model"), low_rank()
    before = load_file(model / "model.safetensors")
    taught = adapter_in(tmp_path / "adapter", update)
    (taught / "lineage.json").write_text('{"steps": 7}')
    lineage = adapter.merge(model, taught)
    after = load_file(model / "model.safetensors")
    low, high = (update[f"{NAME}.lora_{part}.weight"].astype(np.float32) for part in "AB")
    assert np.allclose(after[TARGET], before[TARGET] + 2 * high @ low)
    assert np.array_equal(after["other.weight"], before["other.weight"])
    assert lineage == {"steps": 7, "adapter_sha256": registry.sha256_of(taught / "adapter_model.safetensors")}


@pytest.mark.parametrize("shape", [(5, 4), (6, 3)])
def test_an_adapter_of_another_model_is_refused_and_the_model_stays(tmp_path: Path, shape: tuple[int, int]) -> None:
    model = model_in(tmp_path / "model")
    before = (model / "model.safetensors").read_bytes()
    with pytest.raises(WrongInput, match="does not fit the model"):
        adapter.merge(model, adapter_in(tmp_path / "adapter", low_rank(*shape)))
    assert (model / "model.safetensors").read_bytes() == before


def test_half_an_update_is_refused(tmp_path: Path) -> None:
    half = {name: value for name, value in low_rank().items() if "lora_A" in name}
    with pytest.raises(WrongInput, match="does not fit"):
        adapter.merge(model_in(tmp_path / "model"), adapter_in(tmp_path / "adapter", half))


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    model = model_in(tmp_path / "model")
    with pytest.raises(WrongInput, match="cannot be read"):
        adapter.merge(model, tmp_path)
    with pytest.raises(WrongInput, match="not an adapter"):
        adapter.merge(model, adapter_in(tmp_path / "adapter", low_rank(), r=None))
