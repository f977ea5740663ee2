"""Write files atomically, read and hash files, and read the JSON in a safetensors header."""

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
    """Write ``content`` to ``path`` atomically: an existing file is replaced after all content is on disk.

    Symbolic links are followed. Raises BenchError if the folder cannot be written, if the disk is full, or if ``path``
    is a device, a pipe or a folder. In these cases no temporary file remains.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BenchError(f"cannot write {path}: it is not a regular file; name a file.")
    temporary: Path | None = None
    try:
        if path.exists() and path.read_bytes() == content:
            return  # so that stored results can be read without write permission
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
    """Check before the computation that ``folder`` can be written. Raises BenchError if it cannot."""
    if folder.exists() and not folder.is_dir():
        raise BenchError(f"{option} {folder} is a file; name a folder.")
    probe = folder / ".writable"
    write_atomic(probe, b"")
    probe.unlink()


def read_text(path: Path, what: str) -> str:
    """Read a UTF-8 file, without its byte order mark and with LF line ends.

    ``what``, such as "config", names the file in messages. Raises BenchError if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"cannot read {what} {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{what} {path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def without_byte_order_mark(content: bytes) -> bytes:
    """Return ``content`` without the UTF-8 byte order mark, which some editors write."""
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
    """Return the metadata entry "facts" of a safetensors file. Raises ValueError, KeyError or TypeError without it.

    ``content`` is the complete file: 8 bytes with the length of the JSON header, the header, and the tensors. The
    safetensors library reads headers only from files on disk.
    """
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    return facts
