"""Copy, compare and restore the parameters and buffers of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.runtime.torch_state import own_generators

State = Mapping[str, Tensor]  # parameters and all buffers (also non-persistent ones) by dotted name


def state_of(model: nn.Module) -> State:
    """Return copies of all parameters and buffers, except lazy ones without a shape."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(model).items() if not is_lazy(tensor)}


def changed(model: nn.Module, before: State) -> list[str]:
    """Return the names of the tensors that differ from ``before`` in any value. The sign of zero is ignored."""
    current = _tensors(model)
    return [name for name, tensor in before.items() if name not in current or not _equal(current[name], tensor)]


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[State]:
    """Yield the state of the model's parameters and buffers, and restore this state on exit."""
    before = state_of(model)
    try:
        yield before
    finally:
        restore(model, before)


@contextmanager
def probing(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore model and random generators on exit, and ignore warnings. Random layers get the same seed every time."""
    with preserve_state(model), own_generators(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same warnings appear when the model is attacked
        torch.manual_seed(0)
        yield


def restore(model: nn.Module, before: State) -> None:
    """Restore the state ``before`` of all tensors whose shape is unchanged."""
    current = _tensors(model)
    with torch.no_grad():
        for name in changed(model, before):
            if name in current and current[name].shape == before[name].shape:
                current[name].copy_(before[name])


def same(first: Tensor, second: Tensor) -> Tensor:
    """Return the element-wise equality; NaN equals NaN."""
    return (first == second) | (first.isnan() & second.isnan())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(chain(model.named_parameters(), model.named_buffers()))


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and bool(same(first, second).all())
