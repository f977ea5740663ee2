"""Corrupted images that others have published, read from ``--corruptions-dir``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.corrupted.array_layout import ArrayLayout
from bench.data.corrupted.checksums import PUBLISHED
from bench.data.corrupted.folder_layout import FolderLayout


class OfficialSet:
    """A folder of published corrupted images: arrays as CIFAR-10-C has them, or image files as ImageNet-C has them.

    ``ids`` and ``labels``, (N,), are those of the whole test split, ``indices``, (M,), the rows of it that are
    evaluated, ``image_size`` the side of the data set's square images in pixels.
    Raises BenchError when the folder is neither or does not fit the split.
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
        if not folder.is_dir():
            raise BenchError(f"--corruptions-dir {folder} is no folder; name the one that holds the corruptions.")
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
        """Whether the files have published checksums: those of CIFAR-10-C and CIFAR-100-C do, and are held to them."""
        return self._arrays and self._published is not None

    @property
    def kinds(self) -> list[str]:
        """Kinds in the folder, sorted."""
        return self._layout.kinds

    def identity(self, kind: str) -> str:
        """Return a hash that identifies the kind's files. Raises BenchError as :meth:`images` does."""
        return self._layout.identity(kind)

    def check(self, kind: str, severity: int) -> None:
        """Look at what can be seen without reading all images. Raises BenchError as :meth:`images` does."""
        self._layout.check(kind, severity)

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return the images of the rows that are evaluated, (M, S, S, 3) uint8.

        Raises BenchError for a kind that is not there, and for a file that is missing, damaged, of another shape or
        not the published one.
        """
        return self._layout.images(kind, severity)
