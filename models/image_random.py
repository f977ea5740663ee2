"""Interface of the random numbers of a training step; :mod:`bench.data.sample_random` provides them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class ImageRandom(Protocol):
    """Random numbers for the N images of a batch, float32, on the device of the batch.

    The numbers of an image depend on the seed, the epoch, the image and ``purpose`` only. Different purposes give
    independent numbers. Equal purposes give equal numbers.
    """

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return numbers in [0, 1), (N, *shape), uniform."""

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Return numbers, (N, *shape), standard normal."""
