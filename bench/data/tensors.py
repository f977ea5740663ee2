"""Images in memory as they were stored, and as a network wants them: float32 (N, 3, H, W) in [0, 1].

Choice of a subset of images.
"""

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
    """Some images of a split. ``pixels`` keeps the stored type, so that a large set of bytes stays bytes."""

    ids: Sequence[str]
    pixels: Tensor  # (N, 1 or 3, H, W), uint8 in 0…255 or float32 in [0, 1]
    labels: Tensor  # (N,), int64

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """The images at ``indices``, (M,) int64, as float32 (M, 3, H, W) in [0, 1]; grey becomes three channels."""
        return as_inputs(self.pixels[indices].to(device))


def as_inputs(pixels: Tensor) -> Tensor:
    """uint8 or float32 (N, 1 or 3, H, W) to float32 (N, 3, H, W) in [0, 1]."""
    scaled = pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels
    return scaled.repeat(1, 3, 1, 1) if scaled.shape[1] == 1 else scaled


def load_images(split: Split, limit: int | None, *, dataset: str, size: int | None = None) -> Images:
    """A sample of ``limit`` images proportional to class (all when None), in the order of the split."""
    return select_images(split, take(split, limit), dataset=dataset, size=size)


def select_images(split: Split, indices: NDArray[np.int64], *, dataset: str, size: int | None = None) -> Images:
    pixels = torch.from_numpy(np.ascontiguousarray(read_checked(split, indices, dataset=dataset, size=size)))
    return Images([split.ids[i] for i in indices], pixels, torch.from_numpy(split.labels[indices]))


def spread(indices: Tensor, most: int) -> Tensor:
    """Choose at most ``most`` ≥ 1 of ``indices``, one from every part of equal size, with a fixed seed.

    The images of a set may be in the order of their classes, and every tenth image may be of one class.

    >>> spread(torch.arange(10), 4).tolist(), spread(torch.arange(3), 4).tolist()
    ([1, 4, 5, 9], [0, 1, 2])
    """
    count = len(indices)
    if count <= most:
        return indices
    starts = torch.arange(most + 1) * count // most
    drawn = torch.rand(most, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return indices[starts[:-1] + (drawn * starts.diff()).long()]
