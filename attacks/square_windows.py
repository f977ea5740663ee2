"""Windows and patterns of the Square Attack (arXiv 1912.00049): see :mod:`bench.attacks.square_attack`.

The side of a window shrinks on a schedule, and each sample draws the positions of its windows. For L2 and L1,
the attack also uses the pattern η.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bench.attacks.engine.counter_rng import integers
from bench.core.specs import Norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the share of the window is halved


class Window(NamedTuple):
    """Upper left corners and masks of one window per sample."""

    top: Tensor  # (B,)
    left: Tensor  # (B,)
    mask: Tensor  # (B, 1, H, W), 0 or 1, the type of the inputs


def window_sizes(norm: Norm, p_init: float, height: int, width: int) -> tuple[int, ...]:
    """Return the side of the window in pixels before the first halving of its share p, and after each halving.

    In L2 and L1, a side is odd and at least 3, so that the pattern has a centre.
    """
    sides = [round(math.sqrt(p_init / 2**k * height * width)) for k in range(len(HALVINGS) + 1)]
    sides = [max(side, 1) if norm == "linf" else max(side, 3) // 2 * 2 + 1 for side in sides]
    return tuple(min(side, height, width) for side in sides)


@lru_cache(maxsize=32)
def on_device(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return ``values`` as a cached int64 tensor on ``device``."""
    return torch.tensor(values, device=device)


def phase_of(step: Tensor) -> Tensor:
    """Return the number of halvings of p before the window number ``step``, (B,) int64 from 0: (B,)."""
    return torch.bucketize(step, on_device(HALVINGS, step.device))


def windows(draws: Tensor, size: Tensor, inputs: Tensor, *, count: int) -> list[Window]:
    """Return ``count`` windows of side ``size``, (B,) int64, at positions drawn from ``draws``, (B,) int64."""
    height, width = inputs.shape[2:]
    # The last position is left out, as in the published program.
    positions = (on_device((height, width), size.device) - size[:, None]).clamp_min(1).repeat(1, count)
    corners = integers(draws[:, None], positions, torch.arange(2 * count, device=draws.device)).unbind(1)
    window_list = []
    for top, left in zip(corners[::2], corners[1::2], strict=True):
        rows, columns = _span(top, size, height), _span(left, size, width)
        mask = rows.to(inputs.dtype)[:, None, :, None] * columns.to(inputs.dtype)[:, None, None, :]
        window_list.append(Window(top, left, mask))
    return window_list


def _span(first: Tensor, size: Tensor, length: int) -> Tensor:
    """Mark the positions of 0…length−1 within first…first+size−1: (B, length), bool."""
    position = torch.arange(length, device=first.device)
    return (position >= first[:, None]) & (position < (first + size)[:, None])


def pattern(side: int, norm: Norm = "l2") -> Tensor:
    """Return η, a bump above a negative bump: (side, side), float64, of length 1 in ``norm``, "l2" or "l1"."""
    upper, lower = _bump(side // 2, side, norm), _bump(side - side // 2, side, norm)
    return _unit(torch.cat((upper, -lower)), norm)


def _bump(rows: int, columns: int, norm: Norm) -> Tensor:
    """Return rings around the centre, (rows, columns), float64, of length 1."""
    row = (torch.arange(rows) - rows // 2).abs()
    column = (torch.arange(columns) - columns // 2).abs()
    terms = torch.arange(1, max(rows, columns) // 2 + 2, dtype=torch.float64).pow(-4 if norm == "l1" else -2)
    return _unit(terms.flip(0).cumsum(0).flip(0)[torch.maximum(row[:, None], column)], norm)


def _unit(values: Tensor, norm: Norm) -> Tensor:
    return values / (values.abs().sum() if norm == "l1" else values.square().sum().sqrt())


@lru_cache(maxsize=8)
def pattern_table(
    norm: Norm, sides: tuple[int, ...], height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return η and its transpose for each of ``sides``, in the upper left of images of zeros: (2·len(sides)·H·W,)."""
    table = torch.zeros(2 * len(sides), height, width, dtype=torch.float64)
    for phase, side in enumerate(sides):
        table[2 * phase, :side, :side] = pattern(side, norm)
        table[2 * phase + 1, :side, :side] = pattern(side, norm).T
    return table.flatten().to(device, dtype)
