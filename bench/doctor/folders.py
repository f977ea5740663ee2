"""Check the folders that a run writes to: write access, free space, and the clock of their file system."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import BenchError
from bench.doctor.check import Check, judged
from bench.runtime.files import write_atomic

MIB, GIB = 2**20, 2**30
LEAST_FREE = 200 * MIB  # weights and tables of a few small networks
ENOUGH_FREE = 2 * GIB  # corrupted sets and adversarial images of CIFAR-10
FEW_FILES = 10_000  # one cell is two or three files
CLOCK_WARN_S, CLOCK_FAIL_S = 2.0, 60.0


def folder_checks(results: Path) -> Iterator[Check]:
    """Yield the checks of the results folder, its cache of corrupted images, and the folder of temporary files."""
    yield from _folder("results folder", results, "name another one with --results.", clock=True)
    cache = results / "corrupted"
    if cache.exists() or cache.is_symlink():
        yield from _folder("cache of corrupted images", cache, f"repair or delete {cache}.")
    temporary = Path(tempfile.gettempdir())
    yield from _folder("temporary files", temporary, "set TMPDIR to another folder.")


def _folder(name: str, folder: Path, way_out: str, *, clock: bool = False) -> Iterator[Check]:
    """Yield the checks of one folder. A folder that does not exist is checked by the nearest one that does."""
    there = folder.absolute()
    while not there.exists() and not there.is_symlink() and there != there.parent:
        there = there.parent
    shown = str(folder) if there == folder.absolute() else f"{folder}, to be made in {there}"
    try:
        skew = _write_once(there)
    except (BenchError, OSError) as error:
        yield Check(name, "fail", shown, f"{_sentence(error)}; {way_out}")
        return
    yield _free_space(name, shown, there, way_out)
    if clock:
        yield _clock(skew)


def _write_once(folder: Path) -> float:
    """Write, lock and delete a file in ``folder``. Return by how many seconds its time is ahead of the clock here.

    Raises BenchError or OSError if the folder cannot be written, or if two processes could both create one file.
    """
    if not folder.is_dir():
        raise BenchError(f"{folder} is not a folder")
    with tempfile.TemporaryDirectory(prefix=".bench-doctor-", dir=folder) as scratch:
        before = time.time()
        write_atomic(Path(scratch) / "file", b"written by bench doctor\n")
        after = time.time()
        written = (Path(scratch) / "file").stat().st_mtime
        lock = Path(scratch) / "lock"
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return min(0.0, written - before) or max(0.0, written - after)
    raise BenchError(f"the file system of {folder} lets two processes create the same file")


def _free_space(name: str, shown: str, folder: Path, way_out: str) -> Check:
    free = shutil.disk_usage(folder).free
    files = os.statvfs(folder).f_favail if hasattr(os, "statvfs") else 0
    total = os.statvfs(folder).f_files if hasattr(os, "statvfs") else 0
    found = f"{shown}: writable, {free / GIB:.1f} GiB free"
    fail = warn = ""
    if free < LEAST_FREE:
        fail = f"less than {LEAST_FREE // MIB} MiB are free; delete files, or {way_out}"
    elif free < ENOUGH_FREE:
        warn = f"less than {ENOUGH_FREE // GIB} GiB are free, which corrupted sets and adversarial images may fill."
    elif total and files < FEW_FILES:
        warn = f"only {files} more files can be created, and every cell is two or three files; delete files."
    return judged(name, found, warn=warn, fail=fail)


def _clock(skew: float) -> Check:
    """Compare the clock of the file system with the clock of this machine: the age of files is measured by both."""
    found = f"file times differ from this machine's clock by {abs(skew):.1f} s"
    advice = "synchronise the clocks (NTP) of this machine and of the file server: old and new files are told by age."
    return judged(
        "clock of the results folder",
        found,
        warn=advice if abs(skew) > CLOCK_WARN_S else "",
        fail=advice if abs(skew) > CLOCK_FAIL_S else "",
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be written ({error.strerror or error})"
    return str(error).rstrip(".").removesuffix("; earlier results are unchanged")
