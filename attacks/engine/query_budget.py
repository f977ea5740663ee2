"""Bound the forward passes per image, counted per image and not per batch.

The search of an image ends with the query that uses up its allowance. Until then, it takes the same path as the
unbounded search, because the path of a sample depends only on its own state. A point proposed by a search on another
model costs one more pass of the model under test, which the bound does not include: see
bench.attacks.engine.fast_model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bench.core.errors import BenchError


class AttackResult(NamedTuple):
    """Adversarial images of an attack, and the searches that the query budget ended."""

    adversarials: Tensor  # (N, C, H, W)
    truncated: Tensor | None  # (N,), bool: the budget ended the search without success; None without a budget


class QueryBudget:
    """Bound on the forward passes per image. After the attack, ``truncated`` marks the searches that it ended.

    >>> budget = QueryBudget(100)
    >>> budget.per_image, budget.truncated
    (100, None)
    """

    def __init__(self, per_image: int) -> None:
        if per_image < 1:
            raise BenchError(f"a query budget of {per_image} is less than 1 forward pass per image; give 1 or more.")
        self.per_image = per_image
        self.truncated: Tensor | None = None  # (N,), bool, set by the attack


class QueryMeter:
    """Count the queries of every sample of one search, and mark samples whose search ends early."""

    def __init__(self, labels: Tensor, allowance: Tensor | None) -> None:
        self.allowance = allowance
        self.n_queries = torch.zeros_like(labels)
        self.truncated = torch.zeros_like(labels, dtype=torch.bool)
        self._before = torch.zeros_like(labels)  # number of queries before the current attempt

    def dump(self) -> dict[str, Tensor]:
        """Return the counts by name."""
        return {"n_queries": self.n_queries, "truncated": self.truncated, "before": self._before}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the counts to the result of :meth:`dump`."""
        self.n_queries.copy_(tensors["n_queries"])
        self.truncated.copy_(tensors["truncated"])
        self._before.copy_(tensors["before"])

    def begin(self) -> list[int]:
        """Return the positions of the samples with an allowance of 1 or more. All others are truncated."""
        if self.allowance is not None:
            self.truncated |= self.allowance <= 0
        return (~self.truncated).nonzero().squeeze(1).tolist()

    def count(self, position: Tensor, unfinished: Tensor) -> Tensor:
        """Count one query of each sample at ``position``, (B,). Mark ``unfinished`` samples without allowance: (B,)."""
        if self.allowance is None:
            return torch.zeros_like(unfinished)
        self.n_queries[position] += 1
        ended = unfinished & (self.n_queries >= self.allowance)[position]
        self.truncated[position[ended]] = True
        return ended

    def next_attempt(self, positions: list[int]) -> None:
        """Begin another attempt at each of ``positions``."""
        if self.allowance is not None:
            self._before[positions] = self.n_queries[positions]

    def rewind(self, positions: list[int]) -> None:
        """Restart the current attempt at each of ``positions``, and do not count its queries."""
        if self.allowance is not None:
            self.n_queries[positions] = self._before[positions]
            self.truncated[positions] = False
