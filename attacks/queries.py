"""A bound on the forward passes that one image may cost, counted image by image wherever it stands in a batch.

The search of an image ends with the question that uses up its allowance. What is found up to then is what the unbounded
search would have found up to then, as a sample's path depends on its own state alone. What a search on another model
claims to have broken costs one more pass, of the model under test, which no bound takes away: see
bench.attacks.prepared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bench.core.specs import AttackSpec


class Attacked(NamedTuple):
    """Result of an attack with a bound on its queries; without a bound an attack returns the images alone."""

    adversarials: Tensor  # (N, C, H, W)
    cut: Tensor  # (N,), bool: not broken, and there was more to try


def allowance_of(spec: AttackSpec, labels: Tensor, *, spent: int = 0) -> Tensor | None:
    """Return the number of queries left for every image, (N,) int64; None without a bound."""
    bound = spec.max_queries
    return None if bound is None else torch.full_like(labels, max(bound - spent, 0))


def outcome(allowance: Tensor | None, adversarials: Tensor, cut: Tensor) -> Tensor | Attacked:
    """The images, and beside them which searches were cut if there is a bound at all."""
    return adversarials if allowance is None else Attacked(adversarials, cut)


class Meter:
    """The questions asked about every sample of one hunt, and whose search they ended. ``labels`` give (N,)."""

    def __init__(self, labels: Tensor, allowance: Tensor | None) -> None:
        self.allowance = allowance
        self.asked = torch.zeros_like(labels)
        self.cut = torch.zeros_like(labels, dtype=torch.bool)
        self._before = torch.zeros_like(labels)  # questions before the present attempt

    def begin(self) -> list[int]:
        """The positions of the samples that may be asked about at all; the others are cut."""
        if self.allowance is not None:
            self.cut |= self.allowance <= 0
        return (~self.cut).nonzero().squeeze(1).tolist()

    def count(self, position: Tensor, unfinished: Tensor) -> Tensor:
        """One question about each of ``position``, (B,): which of the ``unfinished`` may ask no more, (B,) bool."""
        if self.allowance is None:
            return torch.zeros_like(unfinished)
        self.asked[position] += 1
        ended = unfinished & (self.asked >= self.allowance)[position]
        self.cut[position[ended]] = True
        return ended

    def next_attempt(self, positions: list[int]) -> None:
        """Another attempt begins at each of ``positions``."""
        if self.allowance is not None:
            self._before[positions] = self.asked[positions]

    def rewind(self, positions: list[int]) -> None:
        """The present attempt at each of ``positions`` begins again, as if it had asked nothing."""
        if self.allowance is not None:
            self.asked[positions] = self._before[positions]
            self.cut[positions] = False
