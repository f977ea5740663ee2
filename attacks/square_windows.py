"""Windows of the Square Attack: their side shrinks on a schedule, and each sample draws its own places."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bench.attacks.counter import integers
from bench.core.specs import Norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries after which the share of the window is halved


class Window(NamedTuple):
    top: Tensor  # (B,)
    left: Tensor  # (B,)
    mask: Tensor  # (B, 1, H, W), 0 or 1, the type of the inputs


def window_sizes(norm: Norm, p_init: float, height: int, width: int) -> tuple[int, ...]:
    """The side of the window before the first halving of p, and after each."""
    sides = [round(math.sqrt(p_init / 2**k * height * width)) for k in range(len(HALVINGS) + 1)]
    # In L2 and L1 a side is odd and at least 3, so that the pattern has a middle.
    sides = [max(side, 1) if norm == "linf" else max(side, 3) // 2 * 2 + 1 for side in sides]
    return tuple(min(side, height, width) for side in sides)


@lru_cache(maxsize=32)
def on_device(values: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def phase_of(step: Tensor) -> Tensor:
    """Return the number of halvings of p before the window number ``step``, from 0: (B,)."""
    return torch.bucketize(step, on_device(HALVINGS, step.device))


def windows(draws: Tensor, size: Tensor, inputs: Tensor, *, count: int) -> list[Window]:
    """Windows of side ``size``, (B,), in places that each sample draws."""
    height, width = inputs.shape[2:]
    # The last place is left out, as in the published program.
    room = (on_device((height, width), size.device) - size[:, None]).clamp_min(1).repeat(1, count)
    corners = integers(draws[:, None], room, torch.arange(2 * count, device=draws.device)).unbind(1)
    found = []
    for top, left in zip(corners[::2], corners[1::2], strict=True):
        rows, columns = _span(top, size, height), _span(left, size, width)
        mask = rows.to(inputs.dtype)[:, None, :, None] * columns.to(inputs.dtype)[:, None, None, :]
        found.append(Window(top, left, mask))
    return found


def _span(first: Tensor, size: Tensor, length: int) -> Tensor:
    """Mark the positions of 0…length−1 within first…first+size−1: (B, length), bool."""
    place = torch.arange(length, device=first.device)
    return (place >= first[:, None]) & (place < (first + size)[:, None])
