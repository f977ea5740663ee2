"""Paths that users give: check them, and show them in messages."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bench.core.errors import BenchError

SHOWN = 200  # characters of a path in a message
LONGEST = 3500  # bytes; most systems allow 4096, also for the files inside a folder

#: Errors of a path that names nothing.
MISSING = (FileNotFoundError, NotADirectoryError)


def shown(path: Path | str) -> str:
    """Return a path for a message, shortened in the middle if it is very long.

    >>> shown("a" * 5000)[-23:], shown("results")
    ('aaaaa (5000 characters)', 'results')
    """
    text = str(path).replace("\0", "\\0")
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 2 :]} ({len(text)} characters)"


def check_path(path: Path, name: str = "") -> None:
    """Raise BenchError if the system cannot handle the path, whether it exists or not.

    It may be too long, also for the files in the folder that it names, hold a NUL character, or be in a loop of links.
    ``name`` is the kind of the file, such as "config", or the option that gives it.
    """
    try:
        if len(os.fsencode(path)) > LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        os.stat(path)
    except (*MISSING, PermissionError):
        return
    except (OSError, ValueError) as error:
        raise unreadable(path, name, error) from None


def unreadable(path: Path | str, name: str, error: Exception | str) -> BenchError:
    """Return the error for a file that cannot be read. ``name`` is its kind, such as "config", or an option."""
    if isinstance(error, FileNotFoundError) and str(path) == "-":
        reason = "standard input is not read; write its content to a file, and give the file"
    elif isinstance(error, MemoryError):
        reason = "the memory does not suffice"
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
    elif isinstance(error, RuntimeError):
        reason = "it is in a loop of links"
    elif isinstance(error, ValueError):
        reason = "a path cannot hold a NUL character" if "null" in str(error) else str(error)
    else:
        reason = str(error)
    verb = "use" if name.startswith("-") else "read"
    return BenchError(f"cannot {verb} {f'{name} ' if name else ''}{shown(path)}: {reason}.")
