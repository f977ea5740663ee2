"""The 8-bit version of an adversarial image: what a PNG can hold, inside the same ball if the grid has a point there.

A pixel of the grid is k/255, k = 0…255. Rounding each pixel to the nearest k may leave the ball, so that the nearest
image of the grid *in the ball* is wanted. For linf the pixels decide alone. For the other norms an image that is too
far goes back towards the clean one, level by level, beginning with the pixels that the step moves least from where the
attack had put them. The way ends at the grid's nearest point to the clean image, so an image that is outside in the end
could not be inside; that happens only where the clean image is itself not of the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.specs import Norm
from bench.data.tensors import as_inputs
from bench.evaluation.verify import ABSOLUTE_TOLERANCE, distances

LEVELS = 255
POWERS = {"l1": 1.0, "l2": 2.0}  # the norm is the p-th root of the sum of |δ|^p


def quantised(inputs: Tensor, adversarials: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return ``adversarials`` in 8 bits, (N, C, H, W) uint8. Both arguments are (N, C, H, W) float32 in [0, 1]."""
    levels = (adversarials.double() * LEVELS).round()
    radius = eps + ABSOLUTE_TOLERANCE / 2
    if norm == "linf":
        return _clamped(inputs, levels, radius).to(torch.uint8)
    return _drawn_in(inputs, adversarials, levels, radius, POWERS[norm]).to(torch.uint8)


def in_ball(inputs: Tensor, images: Tensor, norm: Norm, eps: float) -> Tensor:
    """Whether 8-bit ``images``, (N, C, H, W) uint8, are within ``eps`` of ``inputs``, (N,) bool, up to rounding.

    The tolerance is there because k/255 is no float32: a step of exactly 8 levels may measure 8/255 + 3e-8.
    """
    return distances(inputs, as_inputs(images), norm) <= eps + ABSOLUTE_TOLERANCE


def _clamped(inputs: Tensor, levels: Tensor, radius: float) -> Tensor:
    centre = inputs.double()
    low = ((centre - radius) * LEVELS).ceil().clamp_min(0)
    high = ((centre + radius) * LEVELS).floor().clamp_max(LEVELS)
    return torch.where(low <= high, levels.clamp(low, high), levels)


def _drawn_in(inputs: Tensor, adversarials: Tensor, levels: Tensor, radius: float, power: float) -> Tensor:
    """Steps of one level towards the clean image until it is inside or as near as the grid allows."""
    centre, target = inputs.double().flatten(1), adversarials.double().flatten(1) * LEVELS
    flat = levels.flatten(1)
    while True:
        back = flat + (centre * LEVELS - flat).sign()
        parts = _parts(flat, centre, power)
        gain = (parts - _parts(back, centre, power)).clamp_min(0)
        excess = parts.sum(1) - radius**power
        if not ((excess > 0) & (gain > 0).any(1)).any():
            return flat.view_as(levels)
        error = (back - target).abs() - (flat - target).abs()
        flat = torch.where(_needed(gain, error, excess), back, flat)


def _parts(levels: Tensor, centre: Tensor, power: float) -> Tensor:
    """|δ|^p of every pixel as float32 holds it, which is how it will be judged."""
    return ((levels / LEVELS).float().double() - centre).abs().pow(power)


def _needed(gain: Tensor, error: Tensor, excess: Tensor) -> Tensor:
    """The pixels, (N, D) bool, of least ``error`` whose ``gain``, added up, first makes good the ``excess``, (N,)."""
    order = torch.where(gain > 0, error, torch.inf).argsort(dim=1, stable=True)
    ordered = gain.gather(1, order)
    before = ordered.cumsum(1) - ordered
    wanted = (before < excess[:, None]) & (ordered > 0)
    return torch.zeros_like(wanted).scatter(1, order, wanted)
