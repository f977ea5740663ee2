"""Hash files by content, and remember the hashes in the user's cache folder, so that hashing costs once.

A remembered hash is used only if size, modification time, change time, inode and device of the file are all unchanged.
Programs cannot set the change time, so that a file of equal size and modification time does not pass for another one.
Hashes of files that were changed in the last seconds are not remembered, because a later change could have the same
time. There is one cache file per folder, ``$XDG_CACHE_HOME/collapse-bench/hashes/<hash of the folder>.json``. A cache
that is missing, damaged or not writable costs time and nothing else. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.core.errors import BenchError
from bench.core.limits import HASHES, IMAGE
from bench.core.paths import shown
from bench.core.specs import fingerprint
from bench.runtime.files import write_atomic
from bench.runtime.input_files import read_input, require_regular

FORMAT: Final = 1
SMALLEST_BYTES: Final = 2**24  # folders of fewer bytes are hashed every time, which takes less than a second
RECENT_NS: Final = 5 * 10**9  # a file with a later time stamp than this is not remembered
OLD_S: Final = 365 * 24 * 3600  # cache files that were not written for so long are deleted

Digest = Callable[[bytes], str]


class Stamp(NamedTuple):
    """Properties of a file that change whenever its content changes."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as hex."""
    return hashlib.sha256(content).hexdigest()


def hash_files(
    paths: Sequence[Path], folder: Path, *, digest: Digest = sha256_of, form: str = "sha256"
) -> tuple[list[str], int]:
    """Return the hash of every file, in the order of ``paths``, and the number of bytes of all files.

    ``folder`` contains the files. ``form`` names ``digest`` and its version: hashes of another form are not used.
    Symbolic links are followed. Raises BenchError for a file that cannot be read, that is not a regular file, or that
    changes while it is read.
    """
    stamps = stamps_of(paths)
    n_bytes = sum(stamp.size for stamp in stamps)
    cache = _Cache(folder, form) if n_bytes >= SMALLEST_BYTES else None
    hashes = []
    try:
        for path, stamp in zip(paths, stamps, strict=True):
            known = cache.get(path, stamp) if cache else None
            if known is None:
                now = time.time_ns()
                known = digest(read_input(path, IMAGE))
                if _stamp(path) != stamp:
                    raise BenchError(f"{path} changed while it was read; run again when nothing writes to it.")
                if cache and max(stamp.mtime_ns, stamp.ctime_ns) < now - RECENT_NS:
                    cache.put(path, stamp, known)
            hashes.append(known)
    finally:  # also after an interrupt: the hashes so far are right
        if cache:
            cache.write()
    return hashes, n_bytes


def stamps_of(paths: Sequence[Path]) -> list[Stamp]:
    """Return the stamps of files. Raises BenchError for a file that cannot be read or that is not a regular file."""
    return [_stamp(path) for path in paths]


@contextmanager
def unchanged(path: Path, stamp: Stamp | None) -> Iterator[None]:
    """Compare a file with its ``stamp``, taken before hashing, before and after the block, which reads it.

    Raises BenchError if its size or modification time differs. Without a stamp, nothing is compared.
    """
    _refuse_changed(path, stamp)
    yield
    _refuse_changed(path, stamp)


def _refuse_changed(path: Path, stamp: Stamp | None) -> None:
    """Raise BenchError for another size or time. A file that is missing is reported by whoever opens it."""
    if stamp is None:
        return
    try:
        status = os.stat(path)
    except OSError:
        return
    if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
        raise BenchError(
            f"{shown(path)} changed after the run began; run the same command again when nothing writes to it."
        )


def cache_folder() -> Path | None:
    """Return the folder of the cache files; None if the user has no home folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None
    return base / "collapse-bench" / "hashes"


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.") from None
    require_regular(status, path, IMAGE)
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


class _Cache:
    """Hashes of the files of one folder, by path."""

    def __init__(self, folder: Path, form: str) -> None:
        self._header = {"format": FORMAT, "form": form, "folder": os.path.abspath(folder)}
        base = cache_folder()
        self._path = None if base is None else base / f"{fingerprint(self._header)[:32]}.json"
        self._known = self._read()
        self._new: dict[str, list[Any]] = {}

    def get(self, path: Path, stamp: Stamp) -> str | None:
        """Return the hash of a file; None if it is not known for this stamp."""
        entry = self._known.get(os.path.abspath(path))
        return str(entry[-1]) if isinstance(entry, list) and tuple(entry[:-1]) == stamp else None

    def put(self, path: Path, stamp: Stamp, sha: str) -> None:
        """Remember the hash of a file."""
        self._new[os.path.abspath(path)] = [*stamp, sha]

    def write(self) -> None:
        """Write the cache file if there are new hashes. A cache that cannot be written is not needed."""
        if self._path is None or not self._new:
            return
        files = self._known | self._new
        content = json.dumps({**self._header, "sha256": fingerprint(files), "files": files}).encode()
        with suppress(BenchError, OSError):
            write_atomic(self._path, content)
            _drop_old(self._path.parent)

    def _read(self) -> dict[str, Any]:
        """Return the entries of the cache file; none if it is missing, damaged or of another format."""
        if self._path is None:
            return {}
        try:
            content = json.loads(read_input(self._path, HASHES))
            files = content.pop("files")
            sha = content.pop("sha256")
            return files if isinstance(files, dict) and content == self._header and sha == fingerprint(files) else {}
        except (BenchError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}


def _drop_old(folder: Path) -> None:
    for path in folder.glob("*.json"):
        with suppress(OSError):  # another process may have deleted it
            if time.time() - path.stat().st_mtime > OLD_S:
                path.unlink()
