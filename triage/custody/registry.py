"""The model registry: a folder per model, with its weights and an entry that says what they are.

    <registry>/<name>/entry.json    source, licence, every file's SHA-256, one digest over them, approvals
    <registry>/<name>/weights/      config, tokenizer, *.safetensors

Promises: only safetensors enter, never pickles or code; an entry is written after its files; what is recorded is
what was copied. The registry lies beside the program's environment, or where TRIAGE_MODELS says.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from safetensors import SafetensorError, safe_open

from triage.calibration import Calibration, calibration_from
from triage.errors import PromiseBroken, WrongInput
from triage.job import nearest

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib", ".h5", ".msgpack"}
_CODE = {".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".exe"}
_KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ""}


@dataclass(frozen=True, slots=True)
class Approval:
    """Who allowed a model, for what, and when. `purpose` is free text; `demonstration` means: not to be relied on."""

    by: str
    purpose: str
    at: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the registry."""

    name: str
    source: str
    revision: str
    licence: str
    publisher: str
    quantisation: str
    files: dict[str, str]  # name below weights/ -> SHA-256
    size_bytes: int
    digest: str
    added_at: str
    added_by: str
    approvals: tuple[Approval, ...] = ()
    prompt: str = ""  # the prompt that it was taught with; a job's default
    lineage: dict[str, Any] = field(default_factory=dict)  # how it was taught: base, data, recipe, adapter
    calibrations: dict[str, dict[str, Any]] = field(default_factory=dict)  # by prompt digest; see calibration.py

    def calibration(self, prompt_digest: str) -> Calibration | None:
        """What was fitted for these weights with that prompt. Raises PromiseBroken where it was changed since."""
        value = self.calibrations.get(prompt_digest)
        try:
            return calibration_from(value) if value else None
        except ValueError as problem:
            raise PromiseBroken(
                f"the calibration is {problem}", where=str(root() / self.name / "entry.json"), next="triage calibrate"
            ) from None


def root() -> Path:
    """Where the registry lies."""
    named = os.environ.get("TRIAGE_MODELS")
    return Path(named) if named else Path(sys.prefix) / "share" / "triage" / "models"


def weights(name: str) -> Path:
    return root() / name / "weights"


def names() -> list[str]:
    return sorted(path.parent.name for path in root().glob("*/entry.json"))


def get(name: str) -> Entry:
    """The entry of `name`. Raises WrongInput where there is none, PromiseBroken where it is damaged."""
    path = root() / name / "entry.json"
    known = names()
    if name not in known:
        raise WrongInput(
            f"no model {name!r} in the registry",
            where=str(root()),
            expected=nearest(name, known) if known else "a model that was added",
            next="triage models list, or triage models add NAME --from DIR",
        )
    try:
        value = orjson.loads(path.read_bytes())
        return Entry(**(value | {"approvals": tuple(Approval(**a) for a in value["approvals"])}))
    except (ValueError, TypeError, KeyError):
        raise PromiseBroken("the registry entry is damaged", where=str(path), next="add the model again") from None


def require_approval(entry: Entry) -> Entry:
    """`entry`, where somebody approved it. Raises WrongInput else."""
    if not entry.approvals:
        raise WrongInput(
            f"model {entry.name!r} is not approved",
            where=str(root() / entry.name),
            next=f"triage models approve {entry.name} --by NAME --for PURPOSE",
        )
    return entry


def add(
    name: str,
    source: Path,
    *,
    origin: str,
    revision: str = "",
    licence: str,
    publisher: str = "",
    quantisation: str = "none",
    approvals: tuple[Approval, ...] = (),
    prompt: str = "",
    lineage: dict[str, Any] | None = None,
) -> Entry:
    """Copy the model in `source` into the registry as `name` and record it.

    Raises WrongInput for a name that is taken or unfit, and for a folder that is not a safetensors model, or that
    holds pickles or code: those are refused, not skipped.
    """
    if not _NAME.fullmatch(name):
        raise WrongInput(f"{name!r} is no name for a model", expected="lower-case letters, digits, dots, dashes")
    if (root() / name).exists():
        raise WrongInput(
            f"model {name!r} is there already",
            where=str(root() / name),
            next="choose another name, or remove that folder",
        )
    files = _acceptable(source)
    try:
        root().mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".adding-", dir=root()))
    except OSError as problem:
        raise WrongInput(
            f"cannot be written: {problem.strerror}", where=str(root()), next="set TRIAGE_MODELS"
        ) from None
    try:
        (work / "weights").mkdir()
        recorded = {}
        for file in files:
            target = work / "weights" / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            target.chmod(0o444)
            recorded[str(file.relative_to(source))] = sha256_of(target)
        entry = Entry(
            name=name,
            source=origin,
            revision=revision,
            licence=licence,
            publisher=publisher,
            quantisation=quantisation,
            files=recorded,
            size_bytes=sum(file.stat().st_size for file in files),
            digest=digest_over(recorded),
            added_at=datetime.now(UTC).isoformat(timespec="seconds"),
            added_by=_user(),
            approvals=approvals,
            prompt=prompt,
            lineage=lineage or {},
        )
        _write(work / "entry.json", entry)
        work.rename(root() / name)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return entry


def approve(name: str, by: str, purpose: str) -> Entry:
    """Record that `by` allows the model for `purpose`."""
    entry = get(name)
    approval = Approval(by, purpose, datetime.now(UTC).isoformat(timespec="seconds"))
    return _update(replace(entry, approvals=(*entry.approvals, approval)))


def calibrate(name: str, calibration: Calibration) -> Entry:
    """Record what was fitted for the model with a prompt; it replaces what was fitted for the two before."""
    entry = get(name)
    return _update(replace(entry, calibrations=entry.calibrations | {calibration.prompt_digest: calibration.as_dict()}))


def revoke(name: str) -> Entry:
    """Take back all approvals."""
    return _update(replace(get(name), approvals=()))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_over(files: dict[str, str]) -> str:
    """One SHA-256 over all files: that of the lines `<sha256>  <name>`, sorted by name, as sha256sum prints them."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _acceptable(source: Path) -> list[Path]:
    """The files of a model folder that enter the registry. Raises WrongInput for one that must not."""
    if not source.is_dir():
        raise WrongInput("no such folder", where=str(source), expected="a folder with *.safetensors and config.json")
    files = []
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        suffix = path.suffix.lower()
        if suffix in _PICKLES or suffix in _CODE:
            kind = "weights that can run code when they are loaded" if suffix in _PICKLES else "code"
            raise WrongInput(
                f"holds {kind}", where=str(path), expected="safetensors only", next="remove it, or convert it"
            )
        if path.is_symlink() and not path.resolve().is_file():
            raise WrongInput("a link that leads nowhere", where=str(path))
        if suffix in _KEPT and not path.name.startswith("."):
            files.append(path)
    present = {path.relative_to(source).as_posix() for path in files}
    if "config.json" not in present or not any(name.endswith(".safetensors") for name in present):
        raise WrongInput("not a model folder", where=str(source), expected="config.json and *.safetensors in it")
    for path in files:
        if path.name.endswith("config.json"):
            _refuse_remote_code(path)
        if path.suffix.lower() == ".safetensors":
            _refuse_unsound(path)
    return files


def _refuse_remote_code(config: Path) -> None:
    try:
        value = orjson.loads(config.read_bytes())
    except ValueError:
        raise WrongInput("not JSON", where=str(config), expected="a model's configuration") from None
    if not isinstance(value, dict) or "auto_map" in value:
        raise WrongInput("asks for code of its own (auto_map)", where=str(config), expected="a model that vLLM knows")


def _refuse_unsound(path: Path) -> None:
    """Have the safetensors library check the header, and that the tensors it lists fill the file."""
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError:
        raise WrongInput(
            "not a safetensors file, or cut off, or too long", where=str(path), expected="a whole safetensors file"
        ) from None


def _update(entry: Entry) -> Entry:
    path = root() / entry.name / "entry.json"
    work = path.with_suffix(".new")
    _write(work, entry)
    work.replace(path)
    return entry


def _write(path: Path, entry: Entry) -> None:
    path.write_bytes(orjson.dumps(asdict(entry), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
