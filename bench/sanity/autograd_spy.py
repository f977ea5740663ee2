"""Listens for calls of PyTorch's reverse-mode differentiation while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

#: Where a gradient can be asked for. Whoever has imported ``grad`` by name passes the first two by; all of them end in
#: the engine, whose name is private and may one day be another.
DOORS: tuple[tuple[Any, str], ...] = (
    (torch.autograd, "grad"),
    (torch.autograd, "backward"),
    (Tensor, "backward"),
    (torch.autograd, "_engine_run_backward"),
)


@contextmanager
def gradient_calls() -> Iterator[list[str]]:
    """The names of the functions that are called for gradients inside the block; a call within a call is not another.

    What was patched for it is put back, whatever happens.
    """
    calls: list[str] = []
    inside: list[str] = []

    def listening(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not inside:
                calls.append(name.removeprefix("_"))
            inside.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                inside.pop()

        return call

    with ExitStack() as patches:
        for owner, name in DOORS:
            if hasattr(owner, name):
                original = getattr(owner, name)
                patches.callback(setattr, owner, name, original)
                setattr(owner, name, listening(name, original))
        yield calls
