"""Interface of a search: a state machine for one sample, written for a batch of samples.

A search gives the point at which to query the model, receives the result, and gives the next point. The path of a
sample depends only on its own state. :mod:`bench.attacks.engine.run_search` decides which samples share a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Samples under attack. ``ranking`` is the classes in descending order of the logits of the clean image.

    For searches without a ranking, it is the label. For targeted searches, it is the label and the target class.
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
    """State of a search. All fields, also of subclasses, are tensors with the sample as the first dimension."""

    samples: Samples
    points: Tensor  # (B, C, H, W), points of the next query
    over: Tensor  # (B,), bool: the search has no further query


class QueryResult(NamedTuple):
    """Result of one query of the model at ``state.points``."""

    logits: Tensor  # (B, K)
    loss: Tensor  # (B,)
    gradient: Tensor  # (B, C, H, W), of the loss; 0 if the search needs none


class Search(Protocol):
    """One attack as a state machine. All methods are pure functions."""

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
    """Copy the tensors that were made in inference mode, since gradients cannot pass through them."""
    return _zipped(tree, tree, lambda a, _: a.clone() if a.is_inference() else a)


def take(tree: T, index: Tensor) -> T:
    """Select the samples at ``index`` of a dataclass of tensors with the sample as the first dimension."""
    return _zipped(tree, tree, lambda a, _: a[index])


def choose(mask: Tensor, if_true: Tensor, if_false: Tensor) -> Tensor:
    """Select samples of ``if_true`` where ``mask``, (B,) bool, is true, else of ``if_false``.

    If ``mask`` is all true or all false, the tensor itself is returned, not a copy.
    """
    if mask.all():
        return if_true
    return torch.where(mask.view(-1, *[1] * (if_true.ndim - 1)), if_true, if_false) if mask.any() else if_false


def join(first: T, second: T) -> T:
    """Concatenate the samples of ``first`` and ``second``."""
    return _zipped(first, second, lambda a, b: torch.cat((a, b)))


def tensors_of(state: State) -> dict[str, Tensor]:
    """Return the tensors of a state by name, such as ``points``, without those of its samples."""
    return {name: getattr(owner, name.rpartition(".")[2]) for name, owner in _leaves(state, "")}


def with_tensors(state: State, tensors: Mapping[str, Tensor]) -> State:
    """Return ``state`` with other ``tensors``, named as in :func:`tensors_of`.

    Raises ValueError unless names, shapes and types are those of the state.
    """
    expected = tensors_of(state)
    if expected.keys() != tensors.keys():
        raise ValueError(f"state of {', '.join(tensors)} in place of {', '.join(expected)}")
    for name, tensor in expected.items():
        if (tensor.shape, tensor.dtype) != (tensors[name].shape, tensors[name].dtype):
            raise ValueError(f"{name} of {tuple(tensors[name].shape)} in place of {tuple(tensor.shape)}")
    on_device = {name: tensor.to(expected[name].device) for name, tensor in tensors.items()}
    replaced: State = _replaced(state, on_device, "")
    return replaced


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if isinstance(value, Tensor):
            yield prefix + field.name, tree
        elif not isinstance(value, Samples):
            yield from _leaves(value, f"{prefix}{field.name}.")


def _replaced(tree: Any, tensors: Mapping[str, Tensor], prefix: str) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(tree):
        value, name = getattr(tree, field.name), prefix + field.name
        if isinstance(value, Tensor):
            changes[field.name] = tensors[name]
        elif not isinstance(value, Samples):
            changes[field.name] = _replaced(value, tensors, f"{name}.")
    return dataclasses.replace(tree, **changes)


def _zipped(first: T, second: T, combine: Callable[[Tensor, Tensor], Tensor]) -> T:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(first):  # type: ignore[arg-type]
        a, b = getattr(first, field.name), getattr(second, field.name)
        changes[field.name] = combine(a, b) if isinstance(a, Tensor) else _zipped(a, b, combine)
    return dataclasses.replace(first, **changes)  # type: ignore[type-var]
