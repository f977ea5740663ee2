"""Claims of work in a folder that several processes share, so that each piece of work is done once.

A claim is a file that names its owner. Creating it is atomic (a hard link, or O_EXCL where links do not exist), also on
NFS. The claim of an owner that may be alive is never deleted by another process. A claim that outlives its owner is
superseded: the next owner creates the claim of the next generation, ``<name>.<generation>.claim``. The owner of the
highest generation has the work. A claim is stale if its owner is a dead process of this machine, or if the owner is
elsewhere and has not renewed the time stamp of the claim for STALE_S seconds. The clock is the clock of the file
system. A claim in a copy of a folder, or in a folder that was renamed, counts as elsewhere: its owner works on the
original.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import CLAIM
from bench.core.strict_json import parse_json
from bench.runtime.console import say
from bench.runtime.files import drop_abandoned
from bench.runtime.input_files import read_input
from bench.runtime.interrupt import check_stop
from bench.runtime.processes import is_alive, machine, owner_token, start_time

HEARTBEAT_S = 15.0  # seconds between two renewals of a time stamp
STALE_S = 300.0  # NFS may show a time stamp that is 60 s old
SUFFIX = ".claim"
WAY_OUT = "give a folder that can be written"
LAST = 999_999_999  # highest generation; the next one is the lowest free one
TELL_AFTER_S = 2.0  # wait in silence at first: most claims are short
_NAME = re.compile(r"(?P<name>.+)\.(?P<generation>0|[1-9][0-9]{0,8})\.claim", re.DOTALL)


class Claims:
    """The claims of this process. One thread renews their time stamps."""

    def __init__(self) -> None:
        self._held: set[Path] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def claim(self, folder: Path, name: str) -> Iterator[bool]:
        """Claim the work ``name`` in ``folder`` while the block runs. Yield False if another owner has it.

        Raises BenchError if the folder cannot be written, or if no thread can be started.
        """
        path = _acquire(folder, name)
        if path is None:
            yield False
            return
        try:
            with self._lock:
                self._held.add(path)
                self._start_heartbeat()
            yield True
        finally:
            with self._lock:
                self._held.discard(path)
            _release(path)

    @contextmanager
    def wait_for(self, folder: Path, name: str, *, wait_s: float = 0.2) -> Iterator[None]:
        """Claim the work ``name``, and wait while another owner has it. Raises Stopped on request.

        After TELL_AFTER_S seconds, one line on stderr names the owner, which may be suspended.
        """
        told, start = False, time.monotonic()
        while True:
            with self.claim(folder, name) as mine:
                if mine:
                    yield
                    return
            check_stop()
            if not told and time.monotonic() - start > TELL_AFTER_S:
                say(f"waiting for {owner_of(folder, name) or 'another process'}, which has the claim on {name}")
                told = True
            time.sleep(wait_s * (1 + random.random()))

    def _start_heartbeat(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # a forked process has no thread
            thread = threading.Thread(target=self._beat, name="claims", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise BenchError(f"cannot start the thread that renews claims: {error}; raise 'ulimit -u'.") from error
            self._thread = thread

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            with self._lock:
                for path in self._held:
                    with suppress(OSError):  # the folder may have been deleted by the user
                        os.utime(path)


CLAIMS = Claims()  # of this process


def owner_of(folder: Path, name: str) -> str:
    """Describe the owner of a live claim, such as "process 4711 on node3"; empty if there is none."""
    live = [path for path in _generations(folder, name).values() if not _is_stale(path)]
    content = _read(live[-1]) if live else None
    return f"process {content.get('pid')} on {content.get('host')}" if content else ""


def _acquire(folder: Path, name: str) -> Path | None:
    """Create the claim of the next generation. Return None if another owner is alive or was faster."""
    found = _generations(folder, name)
    if any(not _is_stale(path) for path in found.values()):
        return None
    path = folder / f"{name}.{_next(found)}{SUFFIX}"
    if not _create(path):
        return None
    # Between the two listings, another process may have created a claim of another generation. The process that
    # lists last sees both claims and gives its own up, so that at most one process keeps its claim.
    others = {generation: other for generation, other in _generations(folder, name).items() if other != path}
    if any(not _is_stale(other) for other in others.values()):
        _delete(path)
        return None
    if others:
        _clean_up(folder, others.values())
    return path


def _next(generations: Collection[int]) -> int:
    """Return the generation after the highest one; the lowest free one if the highest one is LAST."""
    highest = max(generations, default=-1)
    return highest + 1 if highest < LAST else next(i for i in count() if i not in generations)


def _clean_up(folder: Path, superseded: Iterable[Path]) -> None:
    """Delete superseded claims, and the temporary files that their dead owners have left."""
    with suppress(OSError):  # the folder may have been deleted or renamed by the user
        for place in (folder, folder.parent, *(path for path in folder.parent.iterdir() if path.is_dir())):
            drop_abandoned(place)
    for path in superseded:
        _delete(path)


def _release(path: Path) -> None:
    """Delete a claim of this process, unless it was superseded meanwhile and another owner has its name."""
    if _read(path) in (None, _content(path.parent)):
        _delete(path)
    with suppress(OSError):  # the folder has other claims, or is gone
        path.parent.rmdir()


def _generations(folder: Path, name: str) -> dict[int, Path]:
    """Return the claims on ``name`` by generation, in ascending order."""
    try:
        entries = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return {}
    matches = (_NAME.fullmatch(entry) for entry in entries)
    found = {int(m["generation"]): folder / m.string for m in matches if m is not None and m["name"] == name}
    return dict(sorted(found.items()))


def _create(path: Path) -> bool:
    """Create a claim with its owner as content; return False if it exists."""
    content = json.dumps(_content(path.parent)).encode()
    temporary = path.with_name(f".{path.name}.{owner_token()}.{secrets.token_hex(4)}.tmp")
    for attempt in range(20):  # another process may remove the empty folder
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            break
        except OSError as error:
            if attempt == 19 or not isinstance(error, FileNotFoundError | FileExistsError):
                _delete(temporary)
                raise BenchError(f"cannot write {path}: {error.strerror or error}; {WAY_OUT}.") from error
    try:
        os.link(temporary, path)
    except FileExistsError:
        return _has_links(temporary)  # NFS repeats a request whose answer was lost; the link is ours
    except OSError:  # a file system without hard links
        return _create_exclusively(path, content)
    finally:
        _delete(temporary)
    return True


def _content(folder: Path) -> dict[str, Any]:
    """Return the content of the claims of this process in ``folder``."""
    return {**machine(), "pid": os.getpid(), "started": start_time(os.getpid()), "folder": _name_of(folder)}


def _name_of(folder: Path) -> str:
    """Return a name of a folder on this machine, which a copy does not have."""
    return hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:16]


def _has_links(path: Path) -> bool:
    try:
        return path.stat().st_nlink > 1
    except OSError:
        return False


def _create_exclusively(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        _delete(path)
        raise BenchError(f"cannot write {path}: {error.strerror or error}; {WAY_OUT}.") from error
    return True


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(read_input(path, CLAIM))
    except (BenchError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_stale(path: Path) -> bool:
    """Return whether the owner of a claim is dead, or has not renewed the claim for STALE_S seconds.

    A claim without readable content is stale only after this time, because it may be in the process of creation. A time
    stamp more than STALE_S seconds in the future was not set by the clock of the file system, so it is no sign of life.
    Raises BenchError if the folder cannot be written, because the claim could not be superseded either.
    """
    content = _read(path)
    if content is not None and _is_here(content, path.parent):
        return not _owner_runs(content)
    try:
        return abs(file_system_time(path.parent) - path.lstat().st_mtime) > STALE_S
    except FileNotFoundError:
        return True  # released
    except OSError as error:
        raise BenchError(f"cannot write {path.parent}: {error.strerror or error}; {WAY_OUT}.") from error


def is_claim(path: Path) -> bool:
    """Return whether a file has the place and the name of a claim."""
    return path.parent.name == "claims" and _NAME.fullmatch(path.name) is not None


def is_running(path: Path) -> bool:
    """Return whether the owner of a claim is a process of this machine that runs or is suspended. Not in a copy."""
    content = _read(path)
    return content is not None and _is_here(content, path.parent) and _owner_runs(content)


def _is_here(content: dict[str, Any], folder: Path) -> bool:
    """Return whether a process of this machine has written a claim in ``folder``. Older claims name no folder."""
    here = {**machine(), "folder": _name_of(folder)}
    return all(content.get(key) == value for key, value in here.items() if key != "folder" or key in content)


def _owner_runs(content: dict[str, Any]) -> bool:
    pid = content.get("pid")
    return isinstance(pid, int) and pid > 0 and is_alive(pid, content.get("started"))


def file_system_time(folder: Path) -> float:
    """Return the time of the file system, from the time stamp of a new file. Raises OSError if it cannot be written."""
    probe = folder / f".now.{owner_token()}.{secrets.token_hex(4)}.tmp"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        _delete(probe)
