"""Restore a model after an attack: its modes, and the gradients and ``requires_grad`` of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode in every module. On exit, restore modes, ``.grad`` and ``requires_grad``.

    Libraries that call ``backward`` accumulate gradients in the parameters of a trainable model. Inside the context,
    the tensors have no ``.grad``, so that the attack neither changes nor reads the caller's gradients.
    """
    modes = [(module, module.training) for module in model.modules()]
    tensors = [tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_leaf]
    original = [(tensor, tensor.requires_grad, tensor.grad) for tensor in tensors]
    for tensor, _, gradient in original:
        if gradient is not None:
            tensor.grad = None
    try:
        if any(training for _, training in modes):
            model.eval()
        yield
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training
        for tensor, required, gradient in original:
            if tensor.requires_grad != required:
                tensor.requires_grad_(required)
            if tensor.grad is not gradient:
                tensor.grad = gradient
