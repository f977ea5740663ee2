"""Write, map and hash ``.npy`` files, and read ``manifest.json``, which lists the files of a generated set.

Files are written atomically. This module imports neither OpenCV nor SciPy.
"""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
import math
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bench.core import limits
from bench.core.errors import BenchError
from bench.core.strict_json import parse_json
from bench.runtime.input_files import is_file, read_input
from bench.runtime.processes import owner_token

MEGABYTE: Final = 10**6
MAX_HEADER: Final = 1 << 16  # bytes; numpy itself refuses headers of more than 10,000 characters

#: Temporary files older than this age in seconds are deleted: the process that wrote them was killed.
ABANDONED_S: Final = 24 * 3600

#: Hashes computed by this process, by algorithm, device, inode, size, modification time and change time of the file.
_DIGESTS: dict[tuple[str, int, int, int, int, int], str] = {}


def write_array(path: Path, blocks: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> str:
    """Write ``blocks``, which form one array of ``shape``, to ``path``. Return the SHA-256 of the file.

    An existing file is replaced after the new file is complete. Blocks are written one by one, so that the array need
    not fit into memory. Temporary files of ``path`` that are older than a day are deleted, because they were written by
    killed processes. Raises BenchError if the folder cannot be written or the disk is full. The temporary file is
    deleted in this case.
    """
    temporary = path.with_name(f".{path.name}.{owner_token()}.{secrets.token_hex(4)}.tmp")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_abandoned(path)
        with temporary.open("xb") as file:
            for part in itertools.chain([_header(shape, dtype)], (_bytes_of(block, dtype) for block in blocks)):
                file.write(part)
                digest.update(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)) / MEGABYTE
        raise BenchError(
            f"cannot write {path} ({size:.1f} MB): {error.strerror or error}; "
            "free some space, or give a folder that can be written."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return digest.hexdigest()


def _drop_abandoned(path: Path) -> None:
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process may have deleted it
            if time.time() - abandoned.stat().st_mtime > ABANDONED_S:
                abandoned.unlink()


def map_array(file: io.BufferedReader) -> NDArray[Any]:
    """Map the array in an open ``.npy`` file into memory. The file may be closed afterwards.

    Writes to the array change the memory but not the file. A writable array is returned because torch warns about
    read-only arrays. Raises ValueError if the file is not a ``.npy`` file, is shorter or longer than its header
    states, or holds Python objects.
    """
    file.seek(0)
    head = io.BytesIO(file.read(MAX_HEADER))  # a file may state a header of 4 GB
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(head)
    except (SyntaxError, TokenError, TypeError) as error:  # raised by NumPy for some damaged headers
        raise ValueError(f"its header cannot be read ({error})") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"its header states the shape {shape}")
    declared, stored = head.tell() + math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if stored != declared:
        raise ValueError(f"it has {stored} bytes, but its header states {declared}")
    mapped: NDArray[Any] = np.memmap(
        file, dtype=dtype, shape=shape, order="F" if fortran else "C", mode="c", offset=head.tell()
    )
    return mapped


def digest_of(file: io.BufferedReader, algorithm: Literal["md5", "sha256"]) -> str:
    """Return the hash of an open file as hex. The hash is computed once per process unless the file changes."""
    status = os.fstat(file.fileno())
    key = (algorithm, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _DIGESTS:
        file.seek(0)
        _DIGESTS[key] = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    return _DIGESTS[key]


def _header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    header = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _bytes_of(block: NDArray[Any], dtype: DTypeLike) -> bytes:
    return np.ascontiguousarray(block, dtype=dtype).tobytes()


MANIFEST: Final = "manifest.json"
_FILE_NAME: Final = re.compile(r"[^/\\\x00]{1,60}")


class Entry(NamedTuple):
    """Manifest entry of a finished file."""

    set: str  # hash of the images, labels, constants and seed
    sha256: str


def raw_manifest(folder: Path) -> dict[str, Any]:
    """Return the unchecked manifest; empty if it is missing or damaged."""
    try:
        manifest = parse_json(read_input(folder / MANIFEST, limits.MANIFEST))
    except (BenchError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def raw_entries(folder: Path) -> dict[str, Any]:
    """Return the unchecked entries of the manifest by file name; empty if the manifest is missing or damaged."""
    files = raw_manifest(folder).get("files")
    return files if isinstance(files, dict) else {}


def entries(folder: Path) -> dict[str, Entry]:
    """Return the manifest's entries of files that exist in the folder.

    Entries in another format are ignored, and so are names that are no names of files, such as ``../labels.npy``.
    """
    candidates = {name: entry for name, entry in raw_entries(folder).items() if isinstance(entry, dict)}
    return {
        name: Entry(entry["set"], entry["sha256"])
        for name, entry in sorted(candidates.items())
        if _FILE_NAME.fullmatch(name)
        and isinstance(entry.get("set"), str)
        and isinstance(entry.get("sha256"), str)
        and is_file(folder / name)
    }
