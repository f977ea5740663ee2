"""Helpers of the attacks that search for the smallest adversarial perturbation.

These attacks have no budget. A cell has one, ε, and asks only whether an adversarial image within ε exists. So a search
stops at the first such image. Its verdict equals that of the full search, whose result would also be within ε.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.attacks.norms import length
from bench.attacks.search import State
from bench.core.specs import Norm


def annealed(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """From ``first`` at step 0 to ``last`` at ``steps`` along half a cosine, (B,), float64."""
    return last + (first - last) * (1 + (math.pi / steps * step.double()).cos()) / 2


def farthest(inputs: Tensor, norm: Norm) -> Tensor:
    """Return the distance to the farthest image of the box, (B,): no perturbation is longer."""
    return length(torch.maximum(inputs, 1 - inputs), norm)


def broken_within(state: State, logits: Tensor, norm: Norm, eps: float) -> Tensor:
    """Mark ``state.points`` that are misclassified and at most ``eps`` away, (B,) bool."""
    near = length(state.points - state.samples.inputs, norm) <= eps
    return (logits.argmax(1) != state.samples.labels) & near
