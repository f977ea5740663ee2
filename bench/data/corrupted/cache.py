"""Generate corrupted images, cache them in files with the layout of CIFAR-10-C, and map the files into memory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import PIL
import scipy
from numpy.typing import NDArray

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.registry import CORRUPTIONS, files_sha_of
from bench.attacks.corruptions.severities import SEVERITY_LEVELS, Profile
from bench.core.errors import BenchError
from bench.core.limits import ARRAY
from bench.core.specs import fingerprint
from bench.data.corrupted.arrays import MANIFEST, digest_of, map_array, raw_entries, write_array
from bench.data.corrupted.choose import code_sha_of
from bench.data.corrupted.sets import rows_of
from bench.data.split import Pixels
from bench.runtime.files import write_atomic
from bench.runtime.input_files import exists, open_input

LABELS: Final = "labels"

#: Version of the layout of the labels file.
LABELS_VERSION: Final = 1

#: Number of values that are corrupted and written at a time. It limits the memory for sets of any size.
BLOCK_VALUES: Final = 2**25

FOLDER_DIGITS: Final = 16

_MERGING = threading.Lock()


class _Stored(NamedTuple):
    array: NDArray[Any]
    sha: str


class GeneratedSet:
    """All corruptions of some images, generated on first use: ``<kind>.npy`` with the five severities stacked.

    ``pixels`` are (N, C, H, W) with C = 1 or 3. Values in float32 in [0, 1] are rounded to the nearest of 256 levels,
    because corruptions are defined on bytes. ``labels`` are (N,).

    Files are stored in a subfolder of ``folder``. Its name is a hash of ids, pixels, labels, profile and seed. With
    ``below=False``, files are stored in ``folder`` itself and replace the files of another set. ``files_sha`` is the
    hash of the photographs that some kinds of corruption need. If it is "", synthetic images replace the photographs.
    If it is None, the installed photographs are used.

    ``manifest.json`` lists every finished file with its SHA-256 and the hash of its set. A file that is not listed, or
    that has another hash, is generated again. An incomplete or damaged file is therefore never used. Several processes
    may use one folder, because all write equal files. If a manifest entry is lost, its file is generated again.

    Raises BenchError for pixels of another shape or type, and if the numbers of ids, labels and images differ.
    """

    source: Final = "generated"
    official: Final = False

    def __init__(
        self,
        folder: Path,
        pixels: Pixels,
        ids: Sequence[str],
        labels: NDArray[np.int64],
        profile: Profile,
        seed: int = 0,
        *,
        below: bool = True,
        files_sha: str | None = None,
    ) -> None:
        _check(pixels, ids, labels)
        self._pixels, self._ids, self._labels = pixels, list(ids), labels
        self._profile, self._seed, self._files_sha = profile, seed, files_sha
        count, channels, height, width = pixels.shape
        self._shape = (len(SEVERITY_LEVELS) * count, height, width, channels)
        self.identity = self._fingerprint()
        self.folder = folder / self.identity[:FOLDER_DIGITS] if below else folder
        self._stored: dict[str, _Stored] = {}

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return images (N, H, W, C), uint8, mapped from their file. The first use of a kind writes all severities.

        Raises BenchError for an unknown kind or severity, or when the files cannot be written.
        """
        rows = rows_of(severity, len(self._ids))
        return self._kind(kind).array[rows]

    def foreign_files(self) -> list[str]:
        """Return the names of arrays in the folder that belong to another set or are not in the manifest."""
        entries_by_name = {name: entry for name, entry in raw_entries(self.folder).items() if isinstance(entry, dict)}
        own = {name for name, entry in entries_by_name.items() if entry.get("set") == self.identity}
        return sorted({path.name for path in self.folder.glob("*.npy")} - own)

    def file_sha(self, kind: str) -> str:
        """Return the SHA-256 of the file of ``kind`` as hex. Generate the file if it is missing."""
        return self._kind(kind).sha

    def _kind(self, kind: str) -> _Stored:
        entry = CORRUPTIONS.get(kind)
        if LABELS not in self._stored:
            repeated = np.tile(self._labels, len(SEVERITY_LEVELS))
            self._stored[LABELS] = self._stored_or_made(
                LABELS, {"version": LABELS_VERSION}, repeated.shape, np.int64, iter([repeated])
            )
        if kind not in self._stored:
            files = self._files(kind)
            settings: dict[str, Any] = {"version": entry.version} | ({"files_sha": files} if entry.stand_in else {})
            settings |= {"code_sha": code} if (code := code_sha_of(kind)) else {}
            self._stored[kind] = self._stored_or_made(
                kind, settings, self._shape, np.uint8, self._corrupted(kind, files)
            )
        return self._stored[kind]

    def _stored_or_made(
        self,
        name: str,
        settings: Mapping[str, Any],
        shape: tuple[int, ...],
        dtype: type[np.generic],
        blocks: Iterator[NDArray[Any]],
    ) -> _Stored:
        path, required = self.folder / f"{name}.npy", {"set": self.identity, "shape": list(shape), **settings}
        entry = raw_entries(self.folder).get(path.name)
        if isinstance(entry, dict) and required.items() <= entry.items() and isinstance(entry.get("sha256"), str):
            stored = _open(path, shape, dtype, entry["sha256"])
            if stored is not None:
                return stored
        sha = write_array(path, blocks, shape, dtype)
        self._enter(path.name, required | {"libraries": _libraries(), "sha256": sha})
        written = _open(path, shape, dtype, sha)
        if written is None:
            raise BenchError(f"{path} differs from the data just written to it; check the disk and run again.")
        return written

    def _files(self, kind: str) -> str:
        """Return the hash of the photographs that are used to generate ``kind``."""
        if self._files_sha is None or not CORRUPTIONS.get(kind).stand_in:
            return files_sha_of(kind)
        return self._files_sha

    def _corrupted(self, kind: str, files_sha: str) -> Iterator[NDArray[np.uint8]]:
        for severity in SEVERITY_LEVELS:
            for rows in self._blocks():
                images = as_bytes(self._pixels[rows])
                yield corrupt_bytes(
                    images, self._ids[rows], kind, severity,
                    seed=self._seed, profile=self._profile, files_sha=files_sha,
                )  # fmt: skip

    def _blocks(self) -> Iterator[slice]:
        step = max(1, BLOCK_VALUES // self._pixels[0].size)
        return (slice(first, first + step) for first in range(0, len(self._pixels), step))

    def _fingerprint(self) -> str:
        content = hashlib.sha256()
        for rows in self._blocks():
            content.update(as_bytes(self._pixels[rows]).data)
        return fingerprint(
            {
                "ids": fingerprint(self._ids),
                "labels": hashlib.sha256(np.ascontiguousarray(self._labels, dtype="<i8").data).hexdigest(),
                "pixels": content.hexdigest(),
                "profile": self._profile,
                "seed": self._seed,
                "shape": list(self._shape),
            }
        )

    def _enter(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add a finished file to the manifest. Entries of other processes are kept."""
        with _MERGING:
            manifest = {
                "files": raw_entries(self.folder) | {name: entry},
                "images": len(self._ids),
                "profile": self._profile,
                "seed": self._seed,
            }
            write_atomic(self.folder / MANIFEST, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())


def _check(pixels: Pixels, ids: Sequence[str], labels: NDArray[np.int64]) -> None:
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype not in (np.uint8, np.float32):
        raise BenchError(
            f"images to be corrupted must be uint8 or float32 of shape (N, 1 or 3, H, W), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    if not len(pixels) or not len(pixels) == len(ids) == len(labels):
        raise BenchError(
            f"{len(pixels)} images to be corrupted have {len(ids)} ids and {len(labels)} labels; "
            "one id and one label per image are needed, and at least one image."
        )


def as_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    """Convert (N, C, H, W), uint8 or float32 in [0, 1], to (N, H, W, C) uint8: floats rounded to the nearest level."""
    levels = pixels if pixels.dtype == np.uint8 else np.rint(pixels * np.float32(255))
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1), dtype=np.uint8)


def _open(path: Path, shape: tuple[int, ...], dtype: type[np.generic], sha: str) -> _Stored | None:
    """Map the file if shape, type and hash are as expected, otherwise return None.

    The hash is computed from the same open file that is mapped.
    """
    if not exists(path):
        return None
    try:
        with open_input(path, ARRAY) as file:
            array = map_array(file)
            valid = array.shape == shape and array.dtype == dtype and digest_of(file, "sha256") == sha
    except (OSError, ValueError):
        return None
    return _Stored(array, sha) if valid else None


def _libraries() -> dict[str, str]:
    return {
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "scipy": scipy.__version__,
    }
