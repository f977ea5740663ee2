"""Random numbers per sample: a draw is a hash of the key of the sample and of counters.

The generator has no state, so that the same image gets the same noise in any batch, order or worker. SplitMix64
(Steele, Lea and Flood 2014, doi 10.1145/2714064.2660195) advances its state by an odd constant and mixes it. Here,
counters replace the state, which gives a counter-based generator. Keys are int64 of shape (B,), one per sample. int64
multiplication wraps as the algorithm requires.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.core.seeds import derive_seed

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def derive(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """Derive new keys, int64, from ``keys`` and ``counters``, which are broadcast to a common shape."""
    for counter in counters:
        number = zlib.crc32(counter.encode()) if isinstance(counter, str) else counter
        advance = (number + 1) * _GOLDEN
        keys = _mix(keys + (_wrapped(advance) if isinstance(advance, int) else advance))
    return keys


def uniform(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """Draw a number in [0, 1) for each derived key: float64, multiples of 2⁻⁵³."""
    return _shift(derive(keys, *counters), 11).double() * 2.0**-53


def integers(keys: Tensor, bound: int | Tensor, *counters: int | Tensor | str) -> Tensor:
    """Draw an integer in 0…bound−1 for each derived key: int64. ``bound`` is at least 1."""
    return (uniform(keys, *counters) * bound).long()


def signs(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """Draw −1 or 1 for each derived key: int64."""
    return 1 - 2 * (derive(keys, *counters) & 1)


def bulk_uniform(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """Draw from [0, 1): (B, *shape) float32, one generator per key, on the CPU, with equal draws on all machines."""
    return _bulk(keys, shape, lambda generator: torch.rand(*shape, generator=generator))


def bulk_normal(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """Draw standard normal numbers: (B, *shape) float32, one generator per key, on the CPU."""
    return _bulk(keys, shape, lambda generator: torch.randn(*shape, generator=generator))


def _bulk(keys: Tensor, shape: Sequence[int], draw: Callable[[torch.Generator], Tensor]) -> Tensor:
    if not len(keys):
        return torch.empty(0, *shape, device=keys.device)
    return torch.stack([draw(torch.Generator().manual_seed(key)) for key in keys.tolist()]).to(keys.device)


def _wrapped(number: int) -> int:
    """Return ``number`` modulo 2⁶⁴ as int64."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Shift to the right and fill with zeros, whereas torch's shift keeps the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


_Draw = Callable[[torch.Generator], Tensor]


class SampleRng:
    """Noise as a pure function of (seed, attack, stage, step, sample id, element).

    Draws are made on the CPU, with equal draws on all machines, and moved to ``device``.

    >>> SampleRng(0, "pgd", ["a", "b"]).uniform("start", 0, (2,)).shape
    torch.Size([2, 2])
    """

    def __init__(self, seed: int, attack: str, sample_ids: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.attack = attack
        self.sample_ids = tuple(sample_ids)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def select(self, keep: Tensor) -> SampleRng:
        """Return the SampleRng of the samples for which ``keep``, (N,) bool, is true."""
        ids = [name for name, kept in zip(self.sample_ids, keep.tolist(), strict=True) if kept]
        return SampleRng(self.seed, self.attack, ids, self.device)

    def keys(self) -> Tensor:
        """Return the key of every sample, (N,) int64, for the functions of this module."""
        seeds = [derive_seed(self.seed, self.attack, name) for name in self.sample_ids]
        return torch.tensor(seeds, dtype=torch.int64, device=self.device)

    def uniform(self, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        """Draw from [0, 1), one ``shape`` per sample: (N, *shape) float32."""
        return self._draw(lambda g: torch.rand(*shape, generator=g), stage, step, shape)

    def normal(self, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        """Draw standard normal numbers, one ``shape`` per sample: (N, *shape) float32."""
        return self._draw(lambda g: torch.randn(*shape, generator=g), stage, step, shape)

    def library_seed(self) -> int:
        """Return a 31-bit seed for a library with a global generator. It depends on the attack but not on samples."""
        return derive_seed(self.seed, self.attack, "library") % 2**31

    def _draw(self, draw: _Draw, stage: str, step: int, shape: Sequence[int]) -> Tensor:
        if not self.sample_ids:
            return torch.empty(0, *shape, device=self.device)
        seeds = (derive_seed(self.seed, self.attack, stage, step, name) for name in self.sample_ids)
        return torch.stack([draw(torch.Generator().manual_seed(s)) for s in seeds]).to(self.device)
