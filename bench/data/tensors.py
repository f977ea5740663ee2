"""Store images in memory as tensors of their original type, and convert them to float32 (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.split import Split, read_checked, take


@dataclass(frozen=True)
class Images:
    """Images of a split. ``pixels`` keeps the stored type, because uint8 needs a quarter of the memory of float32."""

    ids: Sequence[str]
    pixels: Tensor  # (N, 1 or 3, H, W), uint8 in 0…255 or float32 in [0, 1]
    labels: Tensor  # (N,), int64

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return the images at ``indices``, (M,) int64, on ``device`` as float32 (M, 3, H, W) in [0, 1]."""
        return as_inputs(self.pixels[indices].to(device))


def as_inputs(pixels: Tensor) -> Tensor:
    """Convert uint8 or float32 (N, 1 or 3, H, W) to float32 (N, 3, H, W) in [0, 1]. A grey channel is repeated."""
    scaled = pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels
    return scaled.repeat(1, 3, 1, 1) if scaled.shape[1] == 1 else scaled


def load_images(split: Split, limit: int | None, *, dataset: str, size: int | None = None) -> Images:
    """Load ``limit`` images (all if None), sampled proportionally to class, in the order of the split.

    ``dataset`` is used in messages. ``size`` is the required side in pixels. Raises BenchError for invalid pixels.
    """
    return select_images(split, take(split, limit), dataset=dataset, size=size)


def select_images(split: Split, indices: NDArray[np.int64], *, dataset: str, size: int | None = None) -> Images:
    """Load the images at ``indices``, (M,). Options and errors are as in :func:`load_images`."""
    pixels = torch.from_numpy(np.ascontiguousarray(read_checked(split, indices, dataset=dataset, size=size)))
    return Images([split.ids[i] for i in indices], pixels, torch.from_numpy(split.labels[indices]))


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
