"""Files written whole or not at all, files read strictly, and the JSON in a safetensors header."""

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
    """Put ``content`` at ``path``; what was there stays until all of it is on disk. Links are followed.

    Raises BenchError when the folder cannot be written or the disk is full, and for a device, a pipe or a folder; no
    temporary file is left behind.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BenchError(f"cannot write {path}: it is not a regular file; name a file.")
    temporary: Path | None = None
    try:
        if path.exists() and path.read_bytes() == content:
            return  # so that looking at finished results needs no right to write
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
        raise BenchError(f"cannot write {path}: {error.strerror or error}; earlier results are untouched.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(folder: Path, option: str = "--results") -> None:
    """Fail before the work and not after it. Raises BenchError when nothing can be written into ``folder``."""
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{option} {folder} is a file; name a folder.")
    probe = folder / ".writable"
    write_atomic(probe, b"")
    probe.unlink()


def read_text(path: Path, what: str) -> str:
    """The content of a UTF-8 file, ``what`` it is being such as "config": without a byte order mark, with LF line ends.

    Raises BenchError when it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"cannot read {what} {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{what} {path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def without_mark(content: bytes) -> bytes:
    """``content`` without the byte order mark that some editors put before UTF-8."""
    return content.removeprefix(codecs.BOM_UTF8)


def file_sha(path: Path) -> str:
    """SHA-256 of a file as hex. Raises BenchError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error


FACTS = "facts"


def read_facts(content: bytes) -> dict[str, Any]:
    """The facts of a whole file. Raises ValueError, KeyError or TypeError when it has none.

    safetensors reads its header from files only; its layout is 8 bytes of length and JSON.
    """
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    return facts
