"""Identify processes, so that another process can tell whether the owner of a file is still alive."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> dict[str, str]:
    """Return what processes have in common whose process ids can be compared: host, boot and process namespace."""
    return {"host": socket.gethostname(), "boot": _boot(), "namespace": _namespace()}


def is_alive(pid: int, started: object) -> bool:
    """Return whether a process of this machine runs and, where the system tells, has the recorded start time."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    current = start_time(pid)
    return current != "zombie" and (not started or not current or current == started)


def start_time(pid: int) -> str:
    """Return the start time of a process in ticks since boot, "zombie" for a dead one, "" on systems without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "zombie" if fields[0] in "ZX" else fields[19]


def owner_token() -> str:
    """Return a name of this process for the names of its temporary files: machine, process id and start time."""
    return f"{_machine_hash()}-{os.getpid()}-{start_time(os.getpid()) or 0}"


def is_abandoned(token: str) -> bool:
    """Return whether ``token`` names a dead process of this machine. Other machines' processes count as alive."""
    parts = token.split("-")
    if len(parts) != 3 or parts[0] != _machine_hash() or not parts[1].isdecimal():
        return False
    return not is_alive(int(parts[1]), "" if parts[2] == "0" else parts[2])


@cache
def _machine_hash() -> str:
    return hashlib.sha256(repr(sorted(machine().items())).encode()).hexdigest()[:12]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # containers on one host have separate process ids
    except OSError:
        return ""
