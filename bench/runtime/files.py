"""Write files completely or not at all, read text files, hash files, and read the JSON in a safetensors header."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``; an existing file is replaced only when all of it is on disk. Links are followed.

    Raises BenchError if the folder cannot be written or the disk is full, and for a device, a pipe or a folder; no
    temporary file remains.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BenchError(f"cannot write {path}: it is not a regular file; name a file.")
    temporary: Path | None = None
    try:
        if path.exists() and path.read_bytes() == content:
            return  # finished results can be read without permission to write
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise BenchError(f"cannot write {path}: {error.strerror or error}; earlier results are unchanged.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(folder: Path, option: str = "--results") -> None:
    """Check, before the work begins, that ``folder`` can be written. Raises BenchError if it cannot."""
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{option} {folder} is a file; name a folder.")
    probe = folder / ".writable"
    write_atomic(probe, b"")
    probe.unlink()


def read_text(path: Path, what: str) -> str:
    """Return the content of a UTF-8 file without a byte order mark and with LF line ends.

    ``what``, such as "config", names the file in messages. Raises BenchError if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"cannot read {what} {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{what} {path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def without_mark(content: bytes) -> bytes:
    """Return ``content`` without the byte order mark that some editors write before UTF-8."""
    return content.removeprefix(codecs.BOM_UTF8)


def file_sha(path: Path) -> str:
    """Return the SHA-256 of a file as hex. Raises BenchError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error


FACTS = "facts"


def read_facts(content: bytes) -> dict[str, Any]:
    """Return the facts in the header of a safetensors file. Raises ValueError, KeyError or TypeError without facts.

    ``content`` is the complete file: 8 bytes with the length of the JSON header, the header and the tensors. The
    safetensors library reads headers only from files on disk.
    """
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    return facts
