"""Other activations in a finished backbone."""

from __future__ import annotations

from torch import nn

from bench.core.errors import BenchError

ACTIVATIONS = {"silu": nn.SiLU}


def replace_relu(module: nn.Module, activation: str) -> None:
    """Put ``activation`` in the place of every ReLU below ``module``; other activations stay. Raises BenchError."""
    if activation not in ACTIVATIONS:
        raise BenchError(f"unknown activation {activation!r}; there is: {', '.join(ACTIVATIONS)}.")
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, ACTIVATIONS[activation]())
