"""Open and read input files: regular files only, up to a size limit, and one sentence for every problem.

A pipe or a device would block or never end. Therefore the file is examined before it is opened, and again afterwards.
Standard input (``-``) and process substitution (``<(command)``, a pipe) are refused; write the content to a file first.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.limits import FileKind, in_bytes
from bench.core.paths import MISSING, shown, unreadable

CHUNK = 1 << 20

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def status_of(path: Path, name: str = "") -> os.stat_result | None:
    """Return the status of the file or folder, following links; None if there is none.

    Raises BenchError for a path that cannot be examined: too long, with a NUL character, in a folder without permission
    or in a loop of links. ``name``, such as "config" or "--out", describes it in the message.
    """
    try:
        return os.stat(path)
    except MISSING:
        return None
    except (OSError, ValueError) as error:
        raise unreadable(path, name, error) from None


def exists(path: Path, name: str = "") -> bool:
    """Return whether ``path`` exists. Raises BenchError as :func:`status_of` does."""
    return status_of(path, name) is not None


def is_file(path: Path, name: str = "") -> bool:
    """Return whether ``path`` is a regular file. Raises BenchError as :func:`status_of` does."""
    status = status_of(path, name)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: Path, name: str = "") -> bool:
    """Return whether ``path`` is a folder. Raises BenchError as :func:`status_of` does."""
    status = status_of(path, name)
    return status is not None and stat.S_ISDIR(status.st_mode)


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted; none if it does not exist. Raises BenchError if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BenchError(f"cannot read {shown(folder)}: {error.strerror or error}.") from error


def resolved(path: Path, name: str = "") -> Path:
    """Return the absolute path without links. Raises BenchError for a loop of links and for a NUL character."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop, up to Python 3.12
        raise unreadable(path, name, error) from None


def open_input(path: Path, kind: FileKind) -> io.BufferedReader:
    """Open a regular file for reading. Raises BenchError for anything else and for a file above the limit of ``kind``.

    A pipe, a device or a socket is not opened, so that the call never blocks.
    """
    try:
        require_regular(os.stat(path), path, kind)
        descriptor = os.open(path, _FLAGS)
        try:
            require_regular(os.fstat(descriptor), path, kind)  # it may have been replaced in the meantime
            return open(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, ValueError) as error:
        raise unreadable(path, kind.name, error) from None


def read_input(path: Path, kind: FileKind) -> bytes:
    """Return the content of a regular file. Raises BenchError as :func:`open_input` does.

    The bytes are counted while they are read, since a file may grow.
    """
    with open_input(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1) or b""
            if len(content) <= size:
                return content
            parts = [content]
            while part := file.read(CHUNK):
                parts.append(part)
                size += len(part)
                if size > kind.limit:
                    raise too_large(path, kind, f"more than {in_bytes(kind.limit)}")
        except (OSError, MemoryError) as error:
            raise unreadable(path, kind.name, error) from None
    return b"".join(parts)


def read_text(path: Path, kind: FileKind) -> str:
    """Return the content of a UTF-8 file, without its byte order mark and with LF line ends.

    Raises BenchError as :func:`read_input` does, and for another encoding.
    """
    try:
        text = read_input(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{kind.name} {shown(path)} is not UTF-8 ({error.reason}); save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def too_large(path: Path | str, kind: FileKind, size: str) -> BenchError:
    """Return the error for a file above the limit of its kind. ``size`` is its size as text."""
    return BenchError(
        f"cannot read {kind.name} {shown(path)}: it has {size}, and at most {in_bytes(kind.limit)} are read; check "
        "that it is the right file."
    )


def require_regular(status: os.stat_result, path: Path, kind: FileKind) -> None:
    """Raise BenchError unless ``status`` is that of a regular file up to the limit of its ``kind``."""
    if not stat.S_ISREG(status.st_mode):
        remedy = "write its content to a file first" if stat.S_ISFIFO(status.st_mode) else "give a regular file"
        raise unreadable(path, kind.name, f"it is {described(status.st_mode)}; {remedy}")
    if status.st_size > kind.limit:
        raise too_large(path, kind, in_bytes(status.st_size))


def described(mode: int) -> str:
    """Return the type of a file in words, such as "a pipe", from the mode of its status."""
    for test, words in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return words
    return "a file" if stat.S_ISREG(mode) else "not a regular file"
