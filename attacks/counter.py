"""Randomness as a hash: a draw is a function of the sample's key and of counters, and of nothing that came before.

SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2714064.2660195) advances by an odd constant and mixes its state;
with the counters in the place of the advances it makes a counter-based generator. Keys are int64 of shape (B,), one a
sample; int64 multiplication wraps as the algorithm needs it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def derive(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """New keys from ``keys`` and ``counters``, which are broadcast: int64, the broadcast shape."""
    for counter in counters:
        number = zlib.crc32(counter.encode()) if isinstance(counter, str) else counter
        advance = (number + 1) * _GOLDEN
        keys = _mix(keys + (_wrapped(advance) if isinstance(advance, int) else advance))
    return keys


def uniform(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """One number in [0, 1) for each derived key: float64, multiples of 2⁻⁵³."""
    return _shift(derive(keys, *counters), 11).double() * 2.0**-53


def integers(keys: Tensor, bound: int | Tensor, *counters: int | Tensor | str) -> Tensor:
    """One integer in 0…bound−1 for each derived key: int64. ``bound`` is at least 1."""
    return (uniform(keys, *counters) * bound).long()


def signs(keys: Tensor, *counters: int | Tensor | str) -> Tensor:
    """−1 or 1 for each derived key: int64."""
    return 1 - 2 * (derive(keys, *counters) & 1)


def bulk_uniform(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """Uniform on [0, 1): (B, *shape) float32, from one generator a key; drawn on the CPU, where all machines agree."""
    return _bulk(keys, shape, lambda generator: torch.rand(*shape, generator=generator))


def bulk_normal(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal: (B, *shape) float32, from one generator a key, drawn on the CPU."""
    return _bulk(keys, shape, lambda generator: torch.randn(*shape, generator=generator))


def _bulk(keys: Tensor, shape: Sequence[int], draw: Callable[[torch.Generator], Tensor]) -> Tensor:
    if not len(keys):
        return torch.empty(0, *shape, device=keys.device)
    return torch.stack([draw(torch.Generator().manual_seed(key)) for key in keys.tolist()]).to(keys.device)


def _wrapped(number: int) -> int:
    """``number`` modulo 2⁶⁴, as int64 has it."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """A shift to the right that brings in zeros; torch's keeps the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)
