"""Random numbers per image: equal in any batch, order, process and machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.core.seeds import derive_seed

Floats = NDArray[np.float32]


class Draws:
    """One generator per image, seeded by (seed, kind, severity, sample id). Every call continues the sequences.

    The corruptions make their calls in a fixed order, so that the numbers depend only on this seed. NumPy's
    generators compute in integers and float64 on the CPU, with equal results on all machines.
    """

    def __init__(self, seed: int, kind: str, severity: int, sample_ids: Sequence[str]) -> None:
        self._key = (seed, "corruption", kind, severity)
        self._ids = tuple(sample_ids)

    @cached_property
    def _generators(self) -> list[np.random.Generator]:
        """Generators of the images, created at the first draw, because half of the corruptions are deterministic."""
        return [np.random.Generator(np.random.SFC64(derive_seed(*self._key, name))) for name in self._ids]

    @property
    def used(self) -> bool:
        """True if a number was drawn."""
        return "_generators" in vars(self)

    def __len__(self) -> int:
        return len(self._ids)

    def normal(self, *shape: int) -> Floats:
        """Draw standard normal numbers, (N, *shape) float32."""
        return self._fill(shape, lambda generator, out: generator.standard_normal(out=out, dtype=np.float32))

    def uniform(self, *shape: int) -> Floats:
        """Draw uniformly from [0, 1), (N, *shape) float32."""
        return self._fill(shape, lambda generator, out: generator.random(out=out, dtype=np.float32))

    def bits(self, *shape: int) -> NDArray[np.uint32]:
        """Draw uniformly from 0…2³² − 1, (N, *shape)."""
        count = math.prod(shape)
        words = [generator.bit_generator.random_raw((count + 1) // 2) for generator in self._generators]
        return np.stack(words).view(np.uint32)[:, :count].reshape(len(self), *shape)

    def _fill(self, shape: tuple[int, ...], draw: Callable[[np.random.Generator, Floats], object]) -> Floats:
        numbers = np.empty((len(self), *shape), dtype=np.float32)
        for i, generator in enumerate(self._generators):
            draw(generator, numbers[i : i + 1])
        return numbers
