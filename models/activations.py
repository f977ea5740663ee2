"""Replace the activations of a backbone."""

from __future__ import annotations

from torch import nn

from bench.core.errors import BenchError

ACTIVATIONS = {"silu": nn.SiLU}


def replace_relu(module: nn.Module, activation: str) -> None:
    """Replace every ReLU inside ``module`` in place. Raises BenchError for an unknown ``activation``."""
    if activation not in ACTIVATIONS:
        raise BenchError(f"unknown activation {activation!r}; available: {', '.join(ACTIVATIONS)}.")
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, ACTIVATIONS[activation]())
