"""Write the files that users name: ``--out``, ``--junit``, ``--summary`` and figures.

A regular file is replaced atomically. A link stays, and the file it points to is replaced. ``/dev/stdout``,
``/dev/stderr`` and ``/dev/null`` are allowed. A pipe is written to if a process reads from it. Other devices, sockets,
folders, broken links, input files of the same command, and the files of a results folder are refused.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.paths import check_path, shown
from bench.runtime.files import write_atomic
from bench.runtime.input_files import described, is_folder, resolved, status_of

#: Names of the files at the top of a results folder, and of its subfolders, that only measuring commands may write.
OWN_FILES = (
    "results.csv", "leaderboard.csv", "comparison.csv", "corruptions.csv", "tables.sha256", "run.toml", "evaluate.toml",
)  # fmt: skip
OWN_FOLDERS = ("runs", "corrupted", "claims", "precision", "epochs")
FIGURES = (".png", ".svg")  # never files of a record

#: Descriptors of the standard streams by their paths. They are written to without a rename, also if redirected.
STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/1": 1, "/dev/fd/2": 2}

#: Seconds after which a pipe is given up if its reader takes nothing.
PATIENCE = 10.0


def is_stream(path: Path) -> bool:
    """Return whether ``path`` is stdout or stderr."""
    return str(path) in STREAMS


def check_output(path: Path, option: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Raise BenchError if :func:`write_output` would refuse ``path``. Call it before a long computation.

    Args:
        path: File to be written.
        option: Option that names the file, such as "--out", for messages.
        inputs: Input files and other outputs of the same command. None is ignored.

    Raises:
        BenchError: For a device, a socket, a folder, a broken link, one of ``inputs``, and a file of a results folder.
    """
    check_path(path, option)
    if str(path) == "-":
        raise _refused(path, option, "name a file, or /dev/stdout for standard output")
    if is_stream(path):
        return
    target, status = resolved(path, option), status_of(path, option)
    if status is None and path.is_symlink():
        raise _refused(path, option, "it is a link to a file that does not exist; remove the link, or create the file")
    if status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode) or _is_null(status)):
        raise _refused(path, option, f"it is {described(status.st_mode)}; name a file")
    if status is not None and stat.S_ISREG(status.st_mode) and not os.access(target, os.W_OK):
        raise _refused(path, option, "it is read-only; name another file, or allow writing")
    for other in inputs:
        if other is not None and _is_same(target, status, other):
            raise _refused(path, option, f"{shown(other)} is also another file of the same command; name another file")
    owner = results_folder_of(target)
    if owner is not None:
        raise _refused(path, option, f"it belongs to the results folder {shown(owner)}; name a file outside of it")


def write_output(path: Path, content: bytes, option: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Write ``content`` to the file that a user named. Raises BenchError as :func:`check_output` does.

    Also raises BenchError if the folder cannot be written, and for a pipe from which no process reads.
    """
    check_output(path, option, inputs=inputs)
    if not _written_in_place(path, content, option):
        write_atomic(path, content, follow_link=True)


def append_output(path: Path, text: str, option: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Append ``text`` to a file, on a line of its own. Raises BenchError as :func:`write_output` does."""
    check_output(path, option, inputs=inputs)
    if _written_in_place(path, text.encode(), option):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            starts_line = file.seek(0, os.SEEK_END) == 0 or (file.seek(-1, os.SEEK_END), file.read(1))[1] == b"\n"
            added = (b"" if starts_line else b"\n") + text.encode()
            if os.fstat(file.fileno()).st_nlink == 1:
                file.write(added)
                return
            file.seek(0)
            content = file.read()
        # The file has another name. Written in place, the text would be in a table or a record with this name, too.
        write_atomic(path, content + added, follow_link=True)
    except OSError as error:
        raise _refused(path, option, error.strerror or str(error)) from None


def results_folder_of(target: Path) -> Path | None:
    """Return the results folder that owns ``target``, a resolved path; None if there is none.

    A results folder has a folder ``runs``. It owns its tables and configurations, and everything in its subfolders
    except figures.
    """
    if target.suffix in FIGURES:
        return None
    if target.name in OWN_FILES and is_folder(target.parent / "runs"):
        return target.parent
    for folder in target.parents:
        if folder.name in OWN_FOLDERS and _has_runs(folder.parent):
            return folder.parent
    return None


def _has_runs(folder: Path) -> bool:
    try:
        return next((folder / "runs").glob("*/run.json"), None) is not None
    except OSError:
        return False  # a folder that cannot be listed cannot be written either


def _is_same(target: Path, status: os.stat_result | None, other: Path) -> bool:
    other_status = status_of(other)
    if status is not None and other_status is not None:
        return os.path.samestat(status, other_status)  # also for hard links
    return target == resolved(other)


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and os.path.samestat(status, os.stat(os.devnull))


def _written_in_place(path: Path, content: bytes, option: str) -> bool:
    """Write to a stream, a pipe or the null device. Return False for a regular file, which is not written."""
    if is_stream(path):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        try:
            descriptor = os.dup(STREAMS[str(path)])
        except OSError as error:
            raise _refused(path, option, error.strerror or str(error)) from None
        _write_all(descriptor, content, path, option)
        return True
    status = status_of(path, option)
    if status is None or stat.S_ISREG(status.st_mode):
        return False
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))  # fails if no process reads
    except OSError as error:
        reason = "no process reads from this pipe; start the reader first" if stat.S_ISFIFO(status.st_mode) else ""
        raise _refused(path, option, reason or error.strerror or str(error)) from None
    _write_all(descriptor, content, path, option)
    return True


def _write_all(descriptor: int, content: bytes, path: Path, option: str) -> None:
    """Write everything and close the descriptor. Raises BenchError if the reader stops reading."""
    rest = memoryview(content)
    try:
        while rest:
            if not select.select([], [descriptor], [], PATIENCE)[1]:
                raise _refused(path, option, f"its reader took nothing for {PATIENCE:g} s")
            try:
                rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]  # a longer write may wait for the reader
            except BlockingIOError:
                continue
    except OSError as error:
        raise _refused(path, option, error.strerror or str(error)) from None
    finally:
        os.close(descriptor)


def _refused(path: Path, option: str, reason: str) -> BenchError:
    return BenchError(f"cannot write {option} {shown(path)}: {reason}.")
