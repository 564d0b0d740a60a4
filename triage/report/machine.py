"""What this machine can run, what listens on it, and what of the boundary holds here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

Check = tuple[str, bool | None, str]  # (what, whether it holds; None for a fact, how it is)

_SHM_BYTES = 1 << 30


def machine() -> list[Check]:
    """Cores, memory, shared memory and disk."""
    memory = psutil.virtual_memory()
    shm = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").exists() else 0
    return [
        ("cores", None, str(len(os.sched_getaffinity(0)))),
        (
            "memory",
            memory.available > 4 << 30,
            f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        ),
        ("shared memory", shm > _SHM_BYTES, f"{shm / 2**30:.1f} GiB free in /dev/shm; Ray keeps caseloads there"),
        ("disk", None, f"{shutil.disk_usage('/tmp').free / 2**30:.0f} GiB free in /tmp"),
    ]


def listening() -> list[Check]:
    """Every TCP port that something listens on, and whether only this machine can reach it."""
    ports: dict[tuple[str, int], str] = {}
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN:
            ports[(connection.laddr.ip, connection.laddr.port)] = _owner(connection.pid)
    return [
        (f"listens on {ip}:{port}", ip in ("127.0.0.1", "::1"), owner) for (ip, port), owner in sorted(ports.items())
    ] or [("listens", None, "nothing")]


def switches(wanted: Mapping[str, str]) -> list[Check]:
    """Whether this process has each switch of `wanted` set."""
    off = [name for name, value in wanted.items() if os.environ.get(name) != value]
    return [
        (
            "telemetry and hub switches",
            not off,
            f"{len(wanted) - len(off)} of {len(wanted)} set" + (f"; not {', '.join(off)}" if off else ""),
        ),
        (
            "outgoing connections",
            False,
            "not held by triage in this version: only the switches above keep the runtimes from calling out",
        ),
    ]


def _owner(pid: int | None) -> str:
    try:
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "another user's process"
    except psutil.Error:
        return f"process {pid}"
