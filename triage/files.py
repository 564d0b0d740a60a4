"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from triage.errors import Stopped, TriageError


def publish(work: Path, target: Path) -> None:
    """Make the finished file `work` (of the same file system) visible as `target`, and durable."""
    with work.open("rb") as file:
        os.fsync(file.fileno())
    work.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unwritable(place: Path, problem: OSError) -> TriageError:
    """What a failed write means to the user: nothing is lost, and the run can be resumed."""
    full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
    return Stopped(
        "the disk is full" if full else f"cannot be written: {problem.strerror or type(problem).__name__}",
        where=str(place),
        next="make room, then start the same command again: it resumes"
        if full
        else "repair it, then start the same command again: it resumes",
    )
