"""Parameters and buffers of a model: copied, compared with what they are now, and put back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.runtime.torch_state import own_generators

State = Mapping[str, Tensor]  # by dotted name; buffers that are not saved with the weights are among them


def state_of(model: nn.Module) -> State:
    """Copies of them. Those that a first pass has yet to give a shape are left out."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(model).items() if not is_lazy(tensor)}


def changed(model: nn.Module, before: State) -> list[str]:
    """Names of those that are no longer what they were ``before``, bit for bit but for the sign of a zero."""
    now = _tensors(model)
    return [name for name, tensor in before.items() if name not in now or not _equal(now[name], tensor)]


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[State]:
    """Whatever the passes inside write into the model is undone; gives the state before them."""
    before = state_of(model)
    try:
        yield before
    finally:
        restore(model, before)


@contextmanager
def probing(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave model, generators and warnings as they were. Random layers draw the same every time."""
    with preserve_state(model), own_generators(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they appear again when the model is attacked
        torch.manual_seed(0)
        yield


def restore(model: nn.Module, before: State) -> None:
    """Write the state ``before`` back, as far as the tensors still have their shapes."""
    now = _tensors(model)
    with torch.no_grad():
        for name in changed(model, before):
            if name in now and now[name].shape == before[name].shape:
                now[name].copy_(before[name])


def same(first: Tensor, second: Tensor) -> Tensor:
    """Element by element; NaN is the same as NaN."""
    return (first == second) | (first.isnan() & second.isnan())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(chain(model.named_parameters(), model.named_buffers()))


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and bool(same(first, second).all())
