"""Random numbers per image, computed on the device of the batch by a hash instead of a generator.

The numbers are a function of (seed, epoch, purpose, index of the image, position). They do not depend on the batch, on
the order of the images, or on the device, and there is no generator state to save. The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195) of a counter, applied once to the index of the
image and once to the position.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.core.seeds import derive_seed

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, whose products wrap modulo 2^64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_BITS = 24  # of a float32 in [0, 1)


class SampleRandom:
    """Random numbers for the images at ``indices``, (M,) int64, of one epoch."""

    def __init__(self, seed: int, epoch: int, indices: Tensor) -> None:
        self._seed, self._epoch, self._indices = seed, epoch, indices

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Return float32 numbers in [0, 1), (M, *shape), uniform. Different purposes give independent numbers."""
        return _fraction(self._bits(purpose, math.prod(shape))).view(-1, *shape)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Return float32 numbers, (M, *shape), standard normal, by the method of Box and Muller (1958)."""
        bits = self._bits(purpose, math.prod(shape))
        radius = (-2 * (1 - _fraction(bits)).log()).sqrt()  # 1 − u is in (0, 1]
        return (radius * (2 * math.pi * _fraction(bits << _BITS)).cos()).view(-1, *shape)

    def _bits(self, purpose: str, count: int) -> Tensor:
        """Return 64 random bits per number, (M, count) int64."""
        key = derive_seed(self._seed, purpose, self._epoch)
        streams = _mix(self._indices * _GOLDEN + key)
        positions = torch.arange(count, device=self._indices.device) * _GOLDEN
        return _mix(streams[:, None] + positions)


def _fraction(bits: Tensor) -> Tensor:
    """Return the upper 24 bits as a float32 in [0, 1)."""
    return _shift(bits, 64 - _BITS).float() * 2.0**-_BITS


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _FACTORS[0]
    bits = (bits ^ _shift(bits, 27)) * _FACTORS[1]
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Shift right and fill with zeros; torch's shift of int64 fills with the sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)
