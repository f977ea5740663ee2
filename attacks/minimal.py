"""What searches for the smallest adversarial perturbation have in common.

They know no budget. In a cell, which has one, only whether an adversarial image within ε exists is asked: a search ends
at the first that is, and its verdict is that of the whole walk, whose smallest would be within ε, too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks.norms import length
from attacks.search import State
from bench.core.specs import Norm


def annealed(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """From ``first`` at step 0 to ``last`` at ``steps`` along half a cosine, (B,), float64."""
    return last + (first - last) * (1 + (math.pi / steps * step.double()).cos()) / 2


def farthest(inputs: Tensor, norm: Norm) -> Tensor:
    """How far the farthest image of the box is, (B,): no perturbation is longer."""
    return length(torch.maximum(inputs, 1 - inputs), norm)


def broken_within(state: State, logits: Tensor, norm: Norm, eps: float) -> Tensor:
    """Where ``state.points`` have another class than the label and are at most ``eps`` away, (B,) bool."""
    near = length(state.points - state.samples.inputs, norm) <= eps
    return (logits.argmax(1) != state.samples.labels) & near
