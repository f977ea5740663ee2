"""The nearest point of a hyperplane in the box: FAB's projection, Croce and Hein 2020 (arXiv 1907.02044), section 3.

    d = argmin ‖d‖   where   w·(t + d) = b   and   0 ≤ t + d ≤ 1

Turn w so that w·t has to fall by c = |w·t − b|. Every pixel then moves against its w_i, and has r_i = t_i or 1 − t_i of
room. The conditions of optimality leave one unknown λ, a length for linf and a multiplier for l2:

    |d_i| = min(λ·v_i, r_i),   v_i = 1 for linf and |w_i| for l2,   h(λ) = Σ|w_i|·min(λ·v_i, r_i) = c.

h is concave, increasing and piecewise linear, so Newton's iteration from λ = 0 never oversteps the root, and ends on
it, to rounding, once it is on the linear piece that holds it. With m = c − h what is left and s the slope,
m'/m + s'/s ≤ 1 from one pass to the next: m·s falls at least fourfold, and no arrangement of the pixels takes many
passes. Nothing is sorted.

For l1 the pixels with the greatest |w_i| go all the way r_i, one after the other, until c is reached; the last of them
goes a part of it. These are sorted.

Departure from the authors' code: they hold still, for l2, every pixel of |w_i| < 1e-8. The plane is the same when w and
b are multiplied by any number, and so is the projection here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.specs import Norm


def project(points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm) -> Tensor:
    """The step d, (B, D), of each of ``points``, (B, D), in [0, 1], to its plane: ``normals`` (B, D), ``offsets`` (B,).

    Where the plane does not meet the box, d leads as near to it as the box allows: to the corner, in all pixels of
    w_i ≠ 0. Where w is 0, d is 0; where w, b or w·t is not finite, d is NaN.
    """
    gap = (normals * points).sum(1) - offsets
    falling = normals * torch.where(gap >= 0, 1.0, -1.0).to(normals).unsqueeze(1)
    room = torch.lerp(1 - points, points, _positive(falling.clone()))  # exact at the weights 0 and 1
    # Squares of weights between 0 and 1 cannot overflow, and underflow only beside others that are greater.
    scale = normals.abs().amax(1, keepdim=True)
    scale = torch.where(scale == 0, 1.0, scale)
    weight = normals.abs() / scale
    needed = gap.abs() / scale.squeeze(1)
    if norm == "linf":
        moved = torch.minimum(_root(weight, room, weight * room, needed).unsqueeze(1), room)
    elif norm == "l1":
        moved = _filled(weight, room, needed)
    else:
        least = torch.finfo(weight.dtype).tiny  # a weight below it moves nothing, and 0/0 is no number
        root = _root(weight.square(), room / weight.clamp_min(least), weight * room, needed)
        moved = torch.minimum(root.unsqueeze(1) * weight, room)
    nothing = torch.where(gap.isfinite(), 0.0, torch.nan).to(points)  # the sign of NaN is 0
    return torch.addcmul(nothing.unsqueeze(1), falling.sign_(), moved, value=-1)


def _filled(weight: Tensor, room: Tensor, needed: Tensor) -> Tensor:
    """Return the step of every pixel, (B, D), for Σ weight·moved = ``needed``, (B,), the greatest weights first."""
    order = weight.argsort(dim=1, descending=True, stable=True)
    sorted_weight = weight.gather(1, order).double()
    sorted_room = room.gather(1, order).double()
    gains = sorted_weight * sorted_room
    rest = (needed.double().unsqueeze(1) - (gains.cumsum(1) - gains)).clamp_min(0)
    share = torch.where(sorted_weight > 0, rest / sorted_weight, 0)
    return torch.zeros_like(weight).scatter(1, order, torch.minimum(share, sorted_room).to(weight.dtype))


def _root(rate: Tensor, end: Tensor, most: Tensor, needed: Tensor) -> Tensor:
    """The λ of Σ h_i(λ) = ``needed``, (B,), where h_i rises at ``rate`` up to λ = ``end`` and is ``most`` from there.

    All of the three are (B, D). The greatest number there is where the sum never gets as far.
    """
    root = torch.zeros_like(needed)
    free, product = torch.empty_like(end), torch.empty_like(end)  # new memory in each pass costs more than the sums
    while True:
        _positive(torch.sub(end, root.unsqueeze(1), out=free))
        slope = torch.mul(free, rate, out=product).sum(1)
        rest = needed - torch.mul(free.neg_().add_(1), most, out=product).sum(1)
        newer = torch.where(slope > 0, rest / slope, torch.finfo(rate.dtype).max)
        # Only what rises is taken: rounding cannot make it turn in a circle, and a sample that has arrived stays there
        # for as long as its neighbours take.
        rises = newer > root
        if not rises.any():
            return root
        root = torch.where(rises, newer, root)


def _positive(values: Tensor) -> Tensor:
    """1 where a value is positive and 0 elsewhere, in its place and type.

    Products with it take a twentieth of the time of where(), which stumbles over every pixel whose mask is a surprise.
    """
    return values.sign_().clamp_min_(0)
