"""Prove weights before they are loaded, and keep them as they were proved.

Promises: every recorded file is there with its recorded SHA-256 and no other file is; `proved` hands out a private
copy that was hashed as it stands, or the registry itself where it lies on a read-only mount, so that nothing can
change the weights between check and load.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triage.custody import registry
from triage.errors import PromiseBroken


def verify(entry: registry.Entry, folder: Path) -> None:
    """Check the files in `folder` against `entry`. Raises PromiseBroken that names the first that differs."""

    def broken(what: str, name: str) -> PromiseBroken:
        return PromiseBroken(
            what,
            where=str(folder / name),
            expected=f"what was recorded on {entry.added_at} by {entry.added_by}",
            next=f"do not use the model; find out who changed it, then add it again (digest {entry.digest[:12]})",
        )

    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    for name in sorted(present - set(entry.files)):
        raise broken("is not part of the recorded model", name)
    for name, digest in sorted(entry.files.items()):
        if name not in present:
            raise broken("is missing", name)
        if registry.sha256_of(folder / name) != digest:
            raise broken("has changed since it was recorded (SHA-256 differs)", name)
    if registry.digest_over(entry.files) != entry.digest:
        raise broken("does not fit the recorded digest", "../entry.json")


@contextmanager
def proved(entry: registry.Entry, private: Path) -> Iterator[Path]:
    """A folder with the model's weights, proved, that stays so while the block runs. `private` is a folder only
    this user may enter; a copy there is removed at the end."""
    source = registry.weights(entry.name)
    if os.statvfs(source).f_flag & os.ST_RDONLY:
        verify(entry, source)
        yield source
        return
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    closed = Path(tempfile.mkdtemp(prefix="weights-", dir=private))  # copytree gives its target the source's mode
    try:
        copy = shutil.copytree(source, closed / entry.name)
        verify(entry, copy)
        yield copy
    finally:
        shutil.rmtree(closed, ignore_errors=True)
