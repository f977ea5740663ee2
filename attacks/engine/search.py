"""Interface of a search: a state machine for one sample, written for a batch of samples.

A search names the point at which to query the model, receives the result, and names the next point. The path of a
sample depends on its own state alone. :mod:`bench.attacks.engine.run_search` decides which samples share a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Samples under attack. ``ranking`` are the classes in descending order of the logits of the clean image.

    Searches without a ranking get the label alone, and targeted ones the label followed by the target class.
    """

    inputs: Tensor  # (N, C, H, W), in [0, 1]
    labels: Tensor  # (N,), int64
    keys: Tensor  # (N,), int64, see bench.attacks.engine.counter_rng
    ranking: Tensor  # (N, K), int64

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> Tensor:
        """Target classes of a targeted search, (N,) int64."""
        return self.ranking[:, 1]

    def fooled(self, logits: Tensor, *, targeted: bool = False) -> Tensor:
        """Mark the samples whose predicted class is not the label or, if ``targeted``, is the target: (N,) bool."""
        predicted = logits.argmax(1)
        return predicted == self.targets if targeted else predicted != self.labels


@dataclass(frozen=True)
class State:
    """State of a search; every field of it and of its subclasses is a tensor whose first dimension is the sample."""

    samples: Samples
    points: Tensor  # (B, C, H, W), where to query the model next
    over: Tensor  # (B,), bool: no query is left


class QueryResult(NamedTuple):
    """Result of one query of the model at ``state.points``."""

    logits: Tensor  # (B, K)
    loss: Tensor  # (B,)
    gradient: Tensor  # (B, C, H, W), of the loss; 0 if the search needs none


class Search(Protocol):
    """One attack as a state machine; all methods are pure."""

    @property
    def attempts(self) -> int:
        """Number of starts per sample: restarts, or target classes."""

    def start(self, samples: Samples, attempt: Tensor) -> State:
        """Return the first states of samples that begin their ``attempt``, (B,) int64 from 0."""

    def loss(self, state: Any, logits: Tensor) -> Tensor:
        """Return the loss to maximise, (B,)."""

    def needs_gradient(self, state: Any) -> Tensor:
        """Mark the samples for which the gradient of the loss at ``state.points`` is needed, (B,) bool."""

    def is_adversarial(self, state: Any, logits: Tensor) -> Tensor:
        """Mark the samples whose ``state.points`` are adversarial and within the budget, (B,) bool."""

    def advance(self, state: Any, result: QueryResult) -> State:
        """Return the states after the query, with the next points."""


def without_inference_mode(tree: T) -> T:
    """Copy the tensors that were made in inference mode: no gradient can pass through those."""
    return _zipped(tree, tree, lambda a, _: a.clone() if a.is_inference() else a)


def take(tree: T, index: Tensor) -> T:
    """Select the samples at ``index`` of a dataclass whose leaves are tensors that begin with the sample."""
    return _zipped(tree, tree, lambda a, _: a[index])


def choose(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` of the samples where ``mask``, (B,) bool, is true and ``other`` elsewhere; copied only if both occur."""
    if mask.all():
        return one
    return torch.where(mask.view(-1, *[1] * (one.ndim - 1)), one, other) if mask.any() else other


def join(one: T, other: T) -> T:
    """Concatenate the samples of ``one`` and those of ``other``."""
    return _zipped(one, other, lambda a, b: torch.cat((a, b)))


def _zipped(one: T, other: T, combine: Callable[[Tensor, Tensor], Tensor]) -> T:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(one):  # type: ignore[arg-type]
        a, b = getattr(one, field.name), getattr(other, field.name)
        changes[field.name] = combine(a, b) if isinstance(a, Tensor) else _zipped(a, b, combine)
    return dataclasses.replace(one, **changes)  # type: ignore[type-var]
