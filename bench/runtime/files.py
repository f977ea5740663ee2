"""Write files atomically, read and hash files, and read the JSON in a safetensors header."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import WEIGHTS, FileKind
from bench.core.paths import shown, unreadable
from bench.core.strict_json import parse_json
from bench.runtime.input_files import described, open_input, resolved, status_of
from bench.runtime.processes import is_abandoned, owner_token

PREFIX = 100  # characters of the file's name in the name of its temporary file
FULL = (errno.ENOSPC, errno.EDQUOT)  # errors of a full disk, and of a full quota
_TEMPORARY = re.compile(r"\.(?P<owner>[0-9a-f]+-\d+-\d+)\.[^.]*\.tmp$")


def write_atomic(path: Path, content: bytes, *, follow_link: bool = False) -> None:
    """Write ``content`` to ``path`` atomically: an existing file is replaced after all content is on disk.

    The permissions of an existing file are kept. A symbolic link is replaced by a file, because a results folder from
    elsewhere may link to any file of the user. With ``follow_link`` the file behind it is replaced. Raises BenchError
    if the folder cannot be written, if the disk is full, or if ``path`` is a device, a pipe or a folder. In these cases
    no temporary file remains. For a file that a user names, use :func:`bench.runtime.output_files.write_output`.
    """
    write_set([(resolved(path) if follow_link else path, content)])


def write_set(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write several files, of which the last one describes the others, for example by their hashes.

    All contents are on disk before the first file is replaced, so that nothing changes on a full disk. If another file
    changes, the last one is deleted before and written again afterwards: a kill leaves no description of other
    contents. Otherwise as :func:`write_atomic`.
    """
    staged: list[tuple[Path, Path]] = []
    path = files[-1][0]
    try:
        for path, content in files:
            _stage(staged, resolved(path.parent) / path.name, content, always=bool(staged))
        if len(staged) > 1:
            staged[-1][1].unlink(missing_ok=True)
        while staged:
            temporary, path = staged[0]
            temporary.replace(path)
            staged.pop(0)
    except OSError as error:
        raise _not_writable(path, error.strerror or str(error), error.errno) from error
    finally:
        for temporary, _ in staged:
            with suppress(OSError):
                temporary.unlink()


def _stage(staged: list[tuple[Path, Path]], path: Path, content: bytes, *, always: bool) -> None:
    """Write ``content`` to a temporary file beside ``path``, and append both paths to ``staged``.

    A file that has the content is left out unless ``always``, so that stored results can be read without write
    permission.
    """
    status = status_of(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise BenchError(f"cannot write {shown(path)}: it is not a regular file; name a file.")
    if not always and status is not None and status.st_size == len(content) and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name[:PREFIX]}.{owner_token()}."
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        staged.append((temporary, path))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o666 & ~_umask() if status is None else stat.S_IMODE(status.st_mode))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(folder: Path, option: str = "--results") -> None:
    """Check before the computation that ``folder`` can be written. Raises BenchError if it cannot."""
    _check_is_folder(folder, option)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"written")
    except OSError as error:
        raise _not_writable(folder, error.strerror or str(error), error.errno) from error
    drop_abandoned(folder)


def check_permission(folder: Path, option: str = "--results") -> None:
    """Check as :func:`check_writable`, but write nothing: by the permissions of the folder or of its first parent.

    Raises BenchError if the folder cannot be written. A full disk is not noticed.
    """
    _check_is_folder(folder, option)
    place = folder.absolute()
    while (status := status_of(place, option)) is None:
        if place.is_symlink():
            raise _not_writable(folder, f"{shown(place)} is a link to a path that does not exist")
        place = place.parent
    if not stat.S_ISDIR(status.st_mode):
        raise _not_writable(folder, os.strerror(errno.ENOTDIR))
    if not os.access(place, os.W_OK | os.X_OK):
        raise _not_writable(folder, os.strerror(errno.EACCES))


def _check_is_folder(folder: Path, option: str) -> None:
    status = status_of(folder, option)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise BenchError(f"{option} {shown(folder)} is {described(status.st_mode)}; name a folder.")


def _not_writable(path: Path, reason: str, code: int | None = None) -> BenchError:
    way_out = " Free space, then run the command again." if code in FULL else ""
    return BenchError(f"cannot write {shown(path)}: {reason}; earlier results are unchanged.{way_out}")


def drop_abandoned(folder: Path) -> None:
    """Delete temporary files in ``folder`` that processes of this machine were writing when they were killed."""
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.search(path.name)
        if match is not None and is_abandoned(match["owner"]):
            with suppress(OSError):  # another user's file, in a folder where each may delete only their own
                path.unlink()


def is_temporary(name: str) -> bool:
    """Return whether a file has a name that :func:`write_set` gives to its temporary files, of any process."""
    return name.startswith(".") and _TEMPORARY.search(name) is not None


def without_byte_order_mark(content: bytes) -> bytes:
    """Return ``content`` without the UTF-8 byte order mark, which some editors write."""
    return content.removeprefix(codecs.BOM_UTF8)


def file_sha(path: Path, kind: FileKind = WEIGHTS) -> str:
    """Return the SHA-256 of a regular file as hex. Raises BenchError if it cannot be read."""
    with open_input(path, kind) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, kind.name, error) from None


FACTS = "facts"


def read_facts(content: bytes) -> dict[str, Any]:
    """Return the metadata entry "facts" of a safetensors file. Raises ValueError, KeyError or TypeError without it.

    ``content`` is the complete file: 8 bytes with the length of the JSON header, the header, and the tensors. The
    safetensors library reads headers only from files on disk.
    """
    length = int.from_bytes(content[:8], "little")
    facts = parse_json(parse_json(content[8 : 8 + length])["__metadata__"][FACTS])
    if not isinstance(facts, dict):
        raise TypeError(f"its facts are of type {type(facts).__name__}")
    return facts
