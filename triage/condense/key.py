"""The secret behind the memory: fingerprints that say nothing of a text, and seals that nobody can make without it.

The key is a file of 32 random bytes, mode 0600, that is made at the first use: `memory.key` beside the program's
environment, or what TRIAGE_KEY names. It never lies in the memory, so that whoever can write the memory cannot seal.
Every worker reads the file itself. Whoever has the key can tell whether a text they guess is in the memory, no more.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from triage.errors import WrongInput

_BYTES = 32


@dataclass(frozen=True, slots=True)
class Key:
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """16 hex digits that tell keys apart."""
        return hmac.digest(self.secret, b"id", "sha256").hex()[:16]

    def fingerprint(self, *parts: str) -> str:
        """32 hex digits: the same for the same parts under the same key."""
        return hmac.digest(self.secret, b"fingerprint" + orjson.dumps(parts), "sha256").hex()[:32]

    def seal(self, values: Sequence[object]) -> bytes:
        """The MAC (HMAC-SHA256) of a row's values: text, numbers, times in UTC, None, and lists of them."""
        return hmac.digest(self.secret, b"row" + orjson.dumps(values), "sha256")

    def holds(self, values: Sequence[object], mac: bytes | None) -> bool:
        return mac is not None and hmac.compare_digest(self.seal(values), mac)


def key_file() -> Path:
    return Path(os.environ.get("TRIAGE_KEY") or Path(sys.prefix) / "share" / "triage" / "memory.key")


def read_key(*, create: bool) -> Key:
    """The key of this installation. Raises WrongInput where there is none, and `create` is not set, or it is no key."""
    path = key_file()
    try:
        if create and not path.exists():
            _make(path)
        secret = path.read_bytes()
    except FileNotFoundError:
        raise WrongInput(
            "the memory's key is not there", where=str(path), next="set TRIAGE_KEY to its file, on every worker"
        ) from None
    except OSError as problem:
        raise WrongInput(f"the memory's key cannot be read: {problem.strerror}", where=str(path)) from None
    if len(secret) != _BYTES:
        raise WrongInput("not a memory's key", where=str(path), expected=f"{_BYTES} bytes")
    return Key(secret)


def _make(path: Path) -> None:
    """A new key, whole or not at all; where two make one at once, the first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(work, path)
    except FileExistsError:
        pass
    finally:
        work.unlink()
