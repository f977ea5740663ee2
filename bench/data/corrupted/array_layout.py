"""Read published corruptions from arrays: ``<kind>.npy`` with the five severities stacked, and ``labels.npy``."""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.errors import BenchError
from bench.core.limits import ARRAY
from bench.data.corrupted.arrays import MANIFEST, digest_of, entries, map_array
from bench.data.corrupted.checksums import Published
from bench.data.corrupted.sets import rows_of
from bench.runtime.input_files import is_file, open_input

LABELS: Final = "labels.npy"
CHANNELS: Final = (3, 1)


class ArrayLayout:
    """Corruptions in a folder of arrays.

    Files are checked against their published checksums. If no checksums are published, they are checked against the
    manifest written by 'bench corrupt'. ``labels``, (N,), are the labels of the whole test split. ``indices``, (M,),
    select the evaluated images. Raises BenchError if ``labels.npy`` is missing or differs from ``labels``, and if the
    files in the manifest belong to several sets.
    """

    def __init__(
        self,
        folder: Path,
        published: Published | None,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        image_size: int,
    ) -> None:
        self._folder, self._published, self._indices = folder, published, indices
        self._count = len(labels)
        self._whole = np.array_equal(indices, np.arange(self._count))
        self._shapes = [(len(SEVERITY_LEVELS) * self._count, image_size, image_size, c) for c in CHANNELS]
        self._mapped: dict[str, NDArray[np.uint8]] = {}
        self._entries = {} if published else entries(folder)
        self._check_sets()
        self._check_labels(labels)

    def check(self, kind: str, severity: int) -> None:
        """Raise BenchError unless the images can be read."""
        rows_of(severity, self._count)
        self._read(kind)

    @property
    def kinds(self) -> list[str]:
        """Kinds of corruption in the folder, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.npy") if path.name != LABELS)

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return the evaluated images, (M, S, S, 3 or 1) uint8. Raises BenchError for missing or invalid files."""
        rows = rows_of(severity, self._count)
        if kind not in self._mapped:
            self._mapped[kind] = self._read(kind)
        selected = self._mapped[kind][rows]
        return selected if self._whole else selected[self._indices]

    def identity(self, kind: str) -> str:
        """Check the file of ``kind`` and return its MD5 as hex. Raises BenchError as :meth:`images` does."""
        self._read(kind)
        with open_input(self._folder / f"{kind}.npy", ARRAY) as file:
            return digest_of(file, "md5")

    def _read(self, kind: str) -> NDArray[np.uint8]:
        path = self._folder / f"{kind}.npy"
        if kind not in self.kinds:
            raise BenchError(f"{self._folder} has no {path.name}; it has {', '.join(self.kinds) or 'no corruption'}.")
        with open_input(path, ARRAY) as file:
            images = _map(file, path)
            if images.shape not in self._shapes or images.dtype != np.uint8:
                raise BenchError(
                    f"{path} holds {images.dtype} of shape {images.shape}; uint8 of shape {self._shapes[0]} is needed, "
                    f"{self._count} test images in each of 5 severities, or the same in grey{self._hint(images)}."
                )
            self._check_content(file, path)
        return images

    def _check_labels(self, labels: NDArray[np.int64]) -> None:
        path = self._folder / LABELS
        if not is_file(path):
            raise BenchError(
                f"{self._folder} has no {LABELS}, which is needed to check the order of the images; add this file."
            )
        with open_input(path, ARRAY) as file:
            stored = _map(file, path)
            lengths = {(self._count,): 1, (len(SEVERITY_LEVELS) * self._count,): len(SEVERITY_LEVELS)}
            if stored.shape not in lengths or stored.dtype.kind not in "iu":
                raise BenchError(
                    f"{path} holds {stored.dtype} of shape {stored.shape}; {self._count} or "
                    f"{len(SEVERITY_LEVELS) * self._count} integers are needed{self._hint(stored)}."
                )
            self._check_content(file, path)
        expected = np.tile(labels, lengths[stored.shape])
        if not np.array_equal(stored, expected):
            first = int((stored != expected).argmax())
            raise BenchError(
                f"{path} has label {stored[first]} at index {first}, but the test split has label {expected[first]}; "
                "the corrupted images must be the images of the test split, in the same order."
            )

    def _hint(self, array: NDArray[Any]) -> str:
        """Return the probable cause if the array is too short, otherwise an empty string."""
        short = array.ndim > 0 and 0 < len(array) < len(SEVERITY_LEVELS) * self._count
        return "; all test images are needed, and 'bench corrupt --limit' writes only some of them" if short else ""

    def _check_sets(self) -> None:
        """Raise BenchError if the manifest lists files of several sets, as after two folders were merged."""
        owners = {entry.set: name for name, entry in self._entries.items()}
        if len(owners) > 1:
            first, second, *_ = sorted(owners.values())
            raise BenchError(
                f"{self._folder / first} and {second} in the same folder belong to different sets: according to "
                f"{MANIFEST}, they differ in images, constants or seed; give a folder that holds one set."
            )

    def _check_content(self, file: BufferedReader, path: Path) -> None:
        entry = self._entries.get(path.name)
        if self._published is not None:
            self._check_md5(self._published, file, path)
        elif entry is not None and digest_of(file, "sha256") != entry.sha256:
            raise BenchError(
                f"{path} does not have the SHA-256 listed for it in {MANIFEST}; generate it again with "
                f"'bench corrupt', or remove {MANIFEST} if the file was replaced on purpose."
            )

    def _check_md5(self, published: Published, file: BufferedReader, path: Path) -> None:
        title, expected = published.title, published.md5.get(path.name)
        if expected is None:
            raise BenchError(f"{path} is not a file of the published {title}; remove it from the folder.")
        actual = digest_of(file, "md5")
        if actual != expected:
            raise BenchError(
                f"{path} is not the published file: its MD5 is {actual}, that of {title} is {expected}; download it "
                f"again (Zenodo record {published.record}), or omit --corruptions-dir to generate the images."
            )


def _map(file: BufferedReader, path: Path) -> NDArray[Any]:
    try:
        return map_array(file)
    except (OSError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise BenchError(
            f"{path} is damaged or not an array of numbers: {reason}; download or unpack it again."
        ) from None
