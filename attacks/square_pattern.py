"""η of the Square Attack's L2 and L1 forms (arXiv 1912.00049): see :mod:`bench.attacks.square`."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from bench.core.specs import Norm


def pattern(side: int, norm: Norm = "l2") -> Tensor:
    """The bumps one above the other: (side, side), float64, of length 1 in ``norm``, which is not linf."""
    upper, lower = _bump(side // 2, side, norm), _bump(side - side // 2, side, norm)
    return _unit(torch.cat((upper, -lower)), norm)


def _bump(rows: int, columns: int, norm: Norm) -> Tensor:
    """Rings around the middle, (rows, columns), float64, of length 1."""
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
    """For each of ``sides`` η and its transpose in the upper left of an image of zeros: (2·len(sides)·H·W,)."""
    table = torch.zeros(2 * len(sides), height, width, dtype=torch.float64)
    for phase, side in enumerate(sides):
        table[2 * phase, :side, :side] = pattern(side, norm)
        table[2 * phase + 1, :side, :side] = pattern(side, norm).T
    return table.flatten().to(device, dtype)
