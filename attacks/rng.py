"""Randomness that belongs to the sample: the same image gets the same noise in any batch, order or worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.core.seeds import derive_seed

_Draw = Callable[[torch.Generator], Tensor]


class SampleRng:
    """Noise as a pure function of (seed, attack, stage, step, sample id, element); there is no state to advance.

    Draws are made on the CPU, where every machine draws alike, and moved to ``device``.
    """

    def __init__(self, seed: int, attack: str, sample_ids: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.attack = attack
        self.sample_ids = tuple(sample_ids)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def select(self, keep: Tensor) -> SampleRng:
        """The randomness of the samples where ``keep``, (N,) bool, is true."""
        ids = [name for name, kept in zip(self.sample_ids, keep.tolist(), strict=True) if kept]
        return SampleRng(self.seed, self.attack, ids, self.device)

    def keys(self) -> Tensor:
        """One number for each sample, (N,) int64, for the hashes of :mod:`bench.attacks.counter`."""
        seeds = [derive_seed(self.seed, self.attack, name) for name in self.sample_ids]
        return torch.tensor(seeds, dtype=torch.int64, device=self.device)

    def uniform(self, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        """Uniform on [0, 1), one draw of ``shape`` a sample: (N, *shape) float32."""
        return self._draw(lambda g: torch.rand(*shape, generator=g), stage, step, shape)

    def normal(self, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        """Standard normal, one draw of ``shape`` a sample: (N, *shape) float32."""
        return self._draw(lambda g: torch.randn(*shape, generator=g), stage, step, shape)

    def library_seed(self) -> int:
        """A 31-bit seed for a library with global randomness: it knows the attack but no sample."""
        return derive_seed(self.seed, self.attack, "library") % 2**31

    def _draw(self, draw: _Draw, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        if not self.sample_ids:
            return torch.empty(0, *shape, device=self.device)
        seeds = (derive_seed(self.seed, self.attack, stage, step, name) for name in self.sample_ids)
        return torch.stack([draw(torch.Generator().manual_seed(s)) for s in seeds]).to(self.device)
