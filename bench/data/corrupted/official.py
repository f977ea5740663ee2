"""Read published corrupted images from ``--corruptions-dir``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.paths import shown
from bench.data.corrupted.array_layout import ArrayLayout
from bench.data.corrupted.checksums import PUBLISHED
from bench.data.corrupted.folder_layout import FolderLayout
from bench.data.image_files import FileReader
from bench.runtime.input_files import is_folder


class OfficialSet:
    """A folder of published corrupted images: arrays as in CIFAR-10-C, or image files as in ImageNet-C.

    ``ids`` and ``labels``, (N,), describe the whole test split. ``indices``, (M,), select the evaluated images.
    ``image_size`` is the side of the data set's square images in pixels. Raises BenchError if the folder has neither
    layout or does not fit the split.
    """

    source: Final = "official"

    def __init__(
        self,
        folder: Path,
        dataset: str,
        ids: Sequence[str],
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        image_size: int,
    ) -> None:
        if not is_folder(folder, "--corruptions-dir"):
            raise BenchError(
                f"--corruptions-dir {shown(folder)} is not a folder; give the folder that holds the corruptions."
            )
        published = PUBLISHED.get(dataset)
        self._layout: ArrayLayout | FolderLayout
        if any(folder.glob("*.npy")):
            self._layout = ArrayLayout(folder, published, labels, indices, image_size)
        else:
            self._layout = FolderLayout(folder, dataset, ids, indices, image_size)
        self._arrays = isinstance(self._layout, ArrayLayout)
        self._published = published

    @property
    def official(self) -> bool:
        """True if the files are checked against published checksums (files of CIFAR-10-C and CIFAR-100-C)."""
        return self._arrays and self._published is not None

    @property
    def kinds(self) -> list[str]:
        """Kinds in the folder, sorted."""
        return self._layout.kinds

    def identity(self, kind: str) -> str:
        """Return a hash that identifies the kind's files. Raises BenchError as :meth:`images` does."""
        return self._layout.identity(kind)

    def check(self, kind: str, severity: int) -> None:
        """Check the files without decoding all images. Raises BenchError as :meth:`images` does."""
        self._layout.check(kind, severity)

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return the evaluated images, (M, S, S, 3) uint8, or (M, S, S, 1) for grey arrays.

        Raises BenchError for an unknown kind, and for a file that is missing, damaged, of another shape or different
        from the published file.
        """
        return self._layout.images(kind, severity)

    def reader(self, kind: str, severity: int) -> FileReader | None:
        """Return the reader of the image files; None for arrays. Raises BenchError for a missing file."""
        return self._layout.reader(kind, severity) if isinstance(self._layout, FolderLayout) else None
