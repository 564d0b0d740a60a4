"""Only safetensors enter, whoever changes a byte of them later is found out, and what was proved stays so."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import write_tiny_model
from triage.custody import embedded, registry
from triage.custody.verify import proved, verify
from triage.errors import PromiseBroken, WrongInput


@pytest.fixture(autouse=True)
def own_registry(models: Path) -> Path:
    return models


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "source")


def add(name: str, source: Path) -> registry.Entry:
    return registry.add(name, source, origin="tests", licence="none")


def test_a_model_is_added_approved_revoked_and_found_again(source: Path) -> None:
    entry = add("second", source)
    assert registry.names() == ["default", "second"]
    assert registry.get("second") == entry
    with pytest.raises(WrongInput, match="not approved"):
        registry.require_approval(entry)
    approved = registry.approve("second", "ana", "alerts")
    assert [(a.by, a.purpose) for a in registry.get("second").approvals] == [("ana", "alerts")]
    assert registry.require_approval(approved) == approved
    assert registry.revoke("second").approvals == ()
    with pytest.raises(WrongInput, match="not approved"):
        registry.require_approval(registry.get("second"))
    verify(registry.get("second"), registry.weights("second"))


@pytest.mark.parametrize("name", ["weights.bin", "m.pt", "m.PTH", "m.pkl", "m.npz", "sub/m.ckpt", "model.py", "x.so"])
def test_pickles_and_code_are_refused_not_skipped(source: Path, name: str) -> None:
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(b"x")
    with pytest.raises(WrongInput) as refused:
        add("second", source)
    assert str(source / name) in str(refused.value)
    assert registry.names() == ["default"]


def header(value: bytes, data: bytes = b"12345678") -> bytes:
    return struct.pack("<Q", len(value)) + value + data


TENSOR = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,%d]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04pickle",
        header(TENSOR % 8, b"1234567"),
        header(TENSOR % 8, b"123456789"),
        header(b"not json"),
        header(b"[]"),
        header(b"{}"),
        header(b'{"w":{"data_offsets":[0,"8"]}}'),
        header(b'{"w":{"data_offsets":[]}}'),
        header(b'{"w":{"data_offsets":[0]}}'),
        header(b'{"w":{"data_offsets":[0,8.0]}}'),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 0),
    ],
)
def test_what_is_not_whole_safetensors_is_refused(source: Path, content: bytes) -> None:
    (source / "model.safetensors").write_bytes(content)
    with pytest.raises(WrongInput, match=r"model\.safetensors"):
        add("second", source)


@pytest.mark.parametrize("config", [b'{"auto_map": {"AutoModel": "x.Y"}}', b"[]", b"not json"])
def test_a_config_that_asks_for_code_or_is_none_is_refused(source: Path, config: bytes) -> None:
    (source / "config.json").write_bytes(config)
    with pytest.raises(WrongInput, match=r"config\.json"):
        add("second", source)


def test_a_config_below_the_top_may_not_ask_for_code_either(source: Path) -> None:
    (source / "tokenizer_config.json").write_bytes(b'{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')
    with pytest.raises(WrongInput, match="auto_map"):
        add("second", source)


@pytest.mark.parametrize("name", ["default", "", "Upper", "../up", "a/b", ".hidden", "a" * 65, "ä", "a\n"])
def test_a_name_that_is_taken_or_unfit_is_refused(source: Path, name: str) -> None:
    with pytest.raises(WrongInput):
        add(name, source)
    assert registry.names() == ["default"]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused(source: Path, missing: str) -> None:
    (source / missing).unlink()
    for folder in (source, source / "none"):
        with pytest.raises(WrongInput):
            add("second", folder)


def test_the_digest_depends_on_what_the_files_are_called_and_hold_not_on_their_order() -> None:
    digest = registry.digest_over({"a": "1", "b": "2"})
    assert registry.digest_over({"b": "2", "a": "1"}) == digest
    assert registry.digest_over({"a": "2", "b": "1"}) != digest
    assert registry.digest_over({"a": "1", "c": "2"}) != digest


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_every_single_byte_that_is_flipped_is_found_and_its_file_named() -> None:
    entry, folder = registry.get("default"), registry.weights("default")
    for name in entry.files:
        for at in range((folder / name).stat().st_size):
            flip(folder / name, at)
            with pytest.raises(PromiseBroken) as broken:
                verify(entry, folder)
            assert str(folder / name) in str(broken.value)
            flip(folder / name, at)
    verify(entry, folder)


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "deleted": lambda path: path.unlink(),
    "padded": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a link to other bytes": lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_other_change_is_found_and_named(name: str, change: str) -> None:
    path = registry.weights("default") / name
    path.chmod(0o644)
    CHANGES[change](path)
    with pytest.raises(PromiseBroken) as broken:
        verify(registry.get("default"), registry.weights("default"))
    assert str(path) in str(broken.value)


@pytest.mark.parametrize("name", ["extra.json", "sub/extra.safetensors", ".hidden"])
def test_an_added_file_is_found_and_named(name: str) -> None:
    path = registry.weights("default") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(PromiseBroken, match="not part of the recorded model") as broken:
        verify(registry.get("default"), registry.weights("default"))
    assert str(path) in str(broken.value)


def test_an_entry_that_was_rewritten_does_not_fit_its_digest() -> None:
    entry, path = registry.get("default"), registry.weights("default") / "config.json"
    flip(path, 3)
    entry.files["config.json"] = registry.sha256_of(path)
    with pytest.raises(PromiseBroken, match="does not fit the recorded digest"):
        verify(entry, registry.weights("default"))


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"null", b'{"approvals": 1}'])
def test_a_damaged_entry_is_named(damage: bytes) -> None:
    path = registry.root() / "default" / "entry.json"
    path.write_bytes(damage)
    with pytest.raises(PromiseBroken) as broken:
        registry.get("default")
    assert str(path) in str(broken.value)


def test_what_is_proved_is_a_private_copy_that_later_changes_do_not_reach(tmp_path: Path) -> None:
    entry, private = registry.get("default"), tmp_path / "private"
    with proved(entry, private) as folder:
        for name in entry.files:
            flip(registry.weights("default") / name, 0)
        verify(entry, folder)
        assert private.stat().st_mode & 0o777 == 0o700
        assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert not list(private.iterdir())
    with pytest.raises(PromiseBroken), proved(entry, private):
        pytest.fail("a changed model was handed out")
    assert not list(private.iterdir())


def test_int8_weights_are_within_half_a_step_and_scales_are_one_for_each_channel(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    plain = {
        "model.layers.0.self_attn.q_proj.weight": random.normal(size=(6, 4)).astype(np.float32),
        "model.layers.0.mlp.up_proj.weight": np.zeros((3, 4), np.float32),
        "model.embed_tokens.weight": random.normal(size=(5, 4)).astype(np.float32),
    }
    save_file(plain, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(b'{"model_type": "llama"}')
    embedded.to_w8a8(tmp_path)
    quantised = load_file(tmp_path / "model.safetensors")
    for name, weight in plain.items():
        if name.endswith("_proj.weight"):
            scale = quantised[f"{name}_scale"]
            assert (quantised[name].dtype, scale.shape) == (np.int8, (weight.shape[0], 1))
            assert (np.abs(quantised[name] * scale - weight) <= scale / 2 * 1.0001).all()
        else:
            assert (quantised[name] == weight).all()
            assert f"{name}_scale" not in quantised
    assert orjson.loads((tmp_path / "config.json").read_bytes())["model_type"] == "llama"
    add("quantised", tmp_path)
