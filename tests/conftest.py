"""Fixtures: a registry with a model that only the fake engine can load, and job files in a folder of their own."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import settings

from triage import job
from triage.custody import registry
from triage.run import Run
from triage.run import load_run as load_run_of

settings.register_profile("triage", deadline=None)  # how long an example takes says nothing of it
settings.load_profile("triage")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def require_shared() -> Path:
    if not SHARED.exists():
        if os.environ.get("TRIAGE_SHARED_REQUIRED"):
            pytest.fail(f"{SHARED} is not there, and TRIAGE_SHARED_REQUIRED is set")
        pytest.skip("needs ../shared/data")
    return SHARED


@pytest.fixture
def shared() -> Path:
    """The real logs. Skips, by name, where they are not there."""
    return require_shared()


def write_tiny_model(folder: Path, fill: int = 0) -> Path:
    """A folder that is a sound safetensors model by its form, with eight bytes of weights."""
    folder.mkdir(parents=True)
    header = orjson.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes([fill]) * 8)
    (folder / "config.json").write_bytes(b'{"model_type": "llama"}')
    (folder / "tokenizer.json").write_bytes(b"{}")
    return folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of its own, with one approved model `default`."""
    monkeypatch.setenv("TRIAGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("TRIAGE_KEY", str(tmp_path / "memory.key"))
    source = write_tiny_model(tmp_path / "tiny")
    registry.add("default", source, origin="tests", licence="none")
    registry.approve("default", "tests", "tests")
    return tmp_path / "models"


WriteJob = Callable[..., Path]


@pytest.fixture
def write_job(tmp_path: Path) -> WriteJob:
    """Write a job file: `lines` becomes shards/day.jsonl, `extra` is appended to the TOML."""

    def write(lines: list[str] | None = None, extra: str = "", fields: str = 'message = "message"') -> Path:
        shards = tmp_path / "shards"
        shards.mkdir(exist_ok=True)
        if lines is not None:
            (shards / "day.jsonl").write_bytes(b"".join(orjson.dumps({"message": line}) + b"\n" for line in lines))
        path = tmp_path / "job.toml"
        path.write_text(f'[input]\npaths = ["shards/"]\nfields = {{ {fields} }}\n[output]\npath = "out"\n{extra}')
        return path

    return write


def load_run(path: Path, **options: int) -> Run:
    return load_run_of(job.load(path), **options)
