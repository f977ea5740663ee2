"""Interface of a search: a state machine for one sample, written for a batch of them.

A search names the point to query the model at, receives the answer, and names the next point. A sample's path depends
on its own state alone. :mod:`bench.attacks.active` decides how many samples are searched at once.
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
    """Samples under attack. ``ranking`` lists the classes by falling logit of the clean image."""

    inputs: Tensor  # (N, C, H, W), in [0, 1]
    labels: Tensor  # (N,), int64
    keys: Tensor  # (N,), int64, see bench.attacks.counter
    ranking: Tensor  # (N, K), int64

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class State:
    """State of a search; every field of it and of its subclasses is a tensor that begins with the sample."""

    samples: Samples
    points: Tensor  # (B, C, H, W), what to ask the model about
    over: Tensor  # (B,), bool: there is nothing left to ask


class Answer(NamedTuple):
    """Answer of the model to the query at ``state.points``."""

    logits: Tensor  # (B, K)
    loss: Tensor  # (B,)
    gradient: Tensor  # (B, C, H, W), of the loss; 0 if the search asked for none


class Search(Protocol):
    """One attack as a state machine; all methods are pure."""

    @property
    def attempts(self) -> int:
        """Number of starts per sample: restarts, or target classes."""

    def start(self, samples: Samples, attempt: Tensor) -> State:
        """The states of samples that begin their ``attempt``, (B,) int64 from 0."""

    def loss(self, state: Any, logits: Tensor) -> Tensor:
        """Return the loss to maximise, (B,)."""

    def needs_gradient(self, state: Any) -> Tensor:
        """Mark the samples for which the gradient of the loss at ``state.points`` is needed, (B,) bool."""

    def breaks(self, state: Any, logits: Tensor) -> Tensor:
        """Whether ``state.points`` are adversarial and allowed, (B,) bool."""

    def advance(self, state: Any, answer: Answer) -> State:
        """The states after the answer, with the points to ask about next."""


def ordinary(tree: T) -> T:
    """The same with copies of tensors that were made in inference mode: no gradient can pass through those."""
    return _zipped(tree, tree, lambda a, _: a.clone() if a.is_inference() else a)


def take(tree: T, index: Tensor) -> T:
    """The samples at ``index`` of a dataclass whose leaves are tensors that begin with the sample."""
    return _zipped(tree, tree, lambda a, _: a[index])


def choose(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` of the samples where ``mask``, (B,) bool, is true and ``other`` elsewhere; copied only if both occur."""
    if mask.all():
        return one
    return torch.where(mask.view(-1, *[1] * (one.ndim - 1)), one, other) if mask.any() else other


def join(one: T, other: T) -> T:
    """The samples of ``one``, then those of ``other``."""
    return _zipped(one, other, lambda a, b: torch.cat((a, b)))


def _zipped(one: T, other: T, combine: Callable[[Tensor, Tensor], Tensor]) -> T:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(one):  # type: ignore[arg-type]
        a, b = getattr(one, field.name), getattr(other, field.name)
        changes[field.name] = combine(a, b) if isinstance(a, Tensor) else _zipped(a, b, combine)
    return dataclasses.replace(one, **changes)  # type: ignore[type-var]
