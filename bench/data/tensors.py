"""Images of a split as float32 (N, 3, H, W) in [0, 1], from memory or streamed from their files.

:func:`load_images` makes the choice: image files that decode to more than ``RESIDENT_BYTES`` are streamed, see
:mod:`bench.data.streaming`. All other images are held in memory in their stored type. The pixels are the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.image_files import FileReader
from bench.data.split import Split, read_checked, take

#: Maximum size in bytes, as uint8, of the images of one sample of image files that are held in memory.
RESIDENT_BYTES = 2**28


class Images(Protocol):
    """Images of a split with ids and labels, in memory or streamed."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images, N of them."""

    @property
    def labels(self) -> Tensor:
        """Labels (N,), int64."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (3, H, W) of one input."""

    @property
    def device(self) -> torch.device:
        """Device of the pixels; the CPU for streamed images."""

    def __len__(self) -> int:
        """Return the number of images."""

    def on(self, device: torch.device) -> Images:
        """Return the images with their pixels and labels on ``device`` if they are in memory."""

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return the images at ``indices``, (M,) int64, on ``device`` as float32 (M, 3, H, W) in [0, 1].

        All of them are in memory at the same time. Use :meth:`batches` for many images.
        """

    def batches(
        self, index_batches: Iterable[Tensor], device: torch.device
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield inputs, as :meth:`inputs` returns them, and labels (M,) on ``device``, for each tensor of indices.

        Streamed images are read ahead. Raises BenchError for an image that cannot be read.
        """


@dataclass(frozen=True)
class ResidentImages:
    """Images in memory. ``pixels`` keeps the stored type, because uint8 needs a quarter of the memory of float32."""

    ids: Sequence[str]
    pixels: Tensor  # (N, 1 or 3, H, W), uint8 in 0…255 or float32 in [0, 1]
    labels: Tensor  # (N,), int64

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (3, H, W) of one input."""
        height, width = self.pixels.shape[2:]
        return 3, height, width

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return the images at ``indices``, (M,) int64, on ``device`` as float32 (M, 3, H, W) in [0, 1]."""
        return as_inputs(self.pixels[indices].to(device))

    @property
    def device(self) -> torch.device:
        """Device of the pixels."""
        return self.pixels.device

    def on(self, device: torch.device) -> ResidentImages:
        """Return the images with their pixels and labels on ``device``."""
        return ResidentImages(self.ids, self.pixels.to(device), self.labels.to(device))

    def batches(
        self, index_batches: Iterable[Tensor], device: torch.device
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield inputs and labels (M,) on ``device`` for each tensor of indices."""
        for indices in index_batches:
            yield self.inputs(indices, device), self.labels[indices].to(device)


def as_inputs(pixels: Tensor) -> Tensor:
    """Convert uint8 or float32 (N, 1 or 3, H, W) to float32 (N, 3, H, W) in [0, 1]. A grey channel is repeated."""
    scaled = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
    return scaled.repeat(1, 3, 1, 1) if scaled.shape[1] == 1 else scaled


def load_images(
    split: Split, limit: int | None, *, dataset: str, size: int | None = None, workers: int | None = None
) -> Images:
    """Load ``limit`` images (all if None), sampled proportionally to class, in the order of the split.

    ``dataset`` is used in messages. ``size`` is the required side in pixels. ``workers`` processes decode images that
    are streamed; by default, one per core. Raises BenchError for invalid pixels. Streamed images are checked when they
    are read.
    """
    return select_images(split, take(split, limit), dataset=dataset, size=size, workers=workers)


def select_images(
    split: Split,
    indices: NDArray[np.int64],
    *,
    dataset: str,
    size: int | None = None,
    workers: int | None = None,
) -> Images:
    """Load the images at ``indices``, (M,). Options and errors are as in :func:`load_images`."""
    ids, labels = [split.ids[i] for i in indices], torch.from_numpy(split.labels[indices])
    if is_streamed(split, len(indices)):
        from bench.data.streaming import StreamedImages  # it imports this module

        assert isinstance(split.read, FileReader)
        return StreamedImages(ids, labels, split.read.select(indices), workers)
    pixels = torch.from_numpy(np.ascontiguousarray(read_checked(split, indices, dataset=dataset, size=size)))
    return ResidentImages(ids, pixels, labels)


def is_streamed(split: Split, count: int) -> bool:
    """Return whether ``count`` images of a split are streamed: image files that decode to over RESIDENT_BYTES bytes.

    Images of other splits are in memory already, or fast to read.
    """
    return isinstance(split.read, FileReader) and count * split.read.image_bytes > RESIDENT_BYTES


def spread(indices: Tensor, most: int) -> Tensor:
    """Choose at most ``most`` ≥ 1 of ``indices``: one at random from each of ``most`` parts of equal size.

    The seed is fixed. A prefix would not be representative, because the images may be sorted by class. Every n-th index
    would not be representative either, because every tenth image may belong to one class.

    >>> spread(torch.arange(10), 4).tolist(), spread(torch.arange(3), 4).tolist()
    ([1, 4, 5, 9], [0, 1, 2])
    """
    count = len(indices)
    if count <= most:
        return indices
    starts = torch.arange(most + 1) * count // most
    offsets = torch.rand(most, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return indices[starts[:-1] + (offsets * starts.diff()).long()]
