"""Check the process and the machine: encodings, clock, open files, memory."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.doctor.check import Check, judged

#: No version of this program existed before this day. A clock before it is wrong.
RELEASED = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
FEW_OPEN_FILES, ENOUGH_OPEN_FILES = 64, 256
MIB, GIB = 2**20, 2**30
SHARED = Path("/dev/shm")
MEMORY = Path("/proc/meminfo")


def process_checks() -> Iterator[Check]:
    """Yield the checks of the process."""
    yield _encoding()
    yield clock(datetime.datetime.now(datetime.UTC))
    yield from _open_files()
    yield from _shared_memory()
    yield from _memory()


def _encoding() -> Check:
    files, output = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "none"
    found = f"file names in {files}, output in {output}"
    fail = ""
    if files.replace("-", "").lower() != "utf8":
        fail = "file names that are not ASCII will be misspelled; set PYTHONUTF8=1."
    warn = ""
    if output.replace("-", "").lower() != "utf8":
        warn = "symbols are printed as ASCII; set a UTF-8 locale, such as LANG=C.UTF-8, or PYTHONIOENCODING=utf-8."
    return judged("encoding", found, warn=warn, fail=fail)


def clock(now: datetime.datetime) -> Check:
    """Check that the clock is not before the first version of this program."""
    wrong = "it is before the first version of this program; set the clock: rows are ordered by their time."
    return judged("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC", fail=wrong if now < RELEASED else "")


def _open_files() -> Iterator[Check]:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = most = sys.maxsize
    advice = f"raise the limit: ulimit -n {ENOUGH_OPEN_FILES if most < 0 else min(most, 4096)}"
    yield judged(
        "open files",
        f"up to {limit if limit < sys.maxsize else 'any number'}",
        warn=advice if limit < ENOUGH_OPEN_FILES else "",
        fail=advice if limit < FEW_OPEN_FILES else "",
    )


def _shared_memory() -> Iterator[Check]:
    """Check /dev/shm. This program does not use it; data loaders with workers in plug-ins do."""
    if not SHARED.is_dir():
        return
    size = shutil.disk_usage(SHARED).total
    small = "data loaders with worker processes in plug-ins may fail; in a container, set --shm-size=1g."
    yield judged("shared memory", f"{SHARED}: {size / MIB:.0f} MiB", warn=small if size < 256 * MIB else "")


def _memory() -> Iterator[Check]:
    if not MEMORY.is_file():
        return
    words = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="utf-8").splitlines() if ":" in line)
    available = int(words.get("MemAvailable", "0 kB").split()[0]) * 1024
    little = "a run needs about 2 GiB; end other programs, or give a smaller --batch-size."
    yield judged("memory", f"{available / GIB:.1f} GiB available", warn=little if available < 2 * GIB else "")
