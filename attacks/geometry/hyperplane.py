"""Projection onto a hyperplane inside the box, as in FAB: Croce and Hein 2020 (arXiv 1907.02044), section 3.

    d = argmin ‖d‖   subject to   w·(t + d) = b   and   0 ≤ t + d ≤ 1

t is the point and d the step. Choose the sign of w so that w·t must decrease by c = |w·t − b|. Then every pixel moves
against the sign of w_i, by at most r_i = t_i or 1 − t_i. The optimality conditions leave one unknown λ, a length for
linf and a multiplier for l2:

    |d_i| = min(λ·v_i, r_i),   v_i = 1 for linf and |w_i| for l2,   h(λ) = Σ|w_i|·min(λ·v_i, r_i) = c.

h is concave, increasing and piecewise linear. So Newton's iteration from λ = 0 never exceeds the root, and reaches it,
up to rounding, once it is on the linear piece that contains the root. Let m_k = c − h be the remaining difference and
s_k the slope after k iterations. Then m_{k+1}/m_k + s_{k+1}/s_k ≤ 1. So each iteration decreases m·s at least fourfold,
and every input needs few iterations. No sorting is needed.

For l1, the pixels are sorted by |w_i| and move by r_i, the largest |w_i| first, until c is reached. The last of these
pixels may move by less.

Difference from the authors' code: for l2, their code does not move pixels with |w_i| < 1e-8. Here there is no such
threshold, so the projection does not change when w and b are multiplied by the same number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.specs import Norm


def project(points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm) -> Tensor:
    """Return the step d, (B, D), from each of ``points``, (B, D) in [0, 1], to its plane w·x = b.

    ``normals`` are w, (B, D), and ``offsets`` b, (B,). If the plane does not intersect the box, every pixel with
    w_i ≠ 0 moves by r_i, as close to the plane as possible. If w is 0, d is 0. If w, b or w·t is not finite, d is NaN.
    """
    gap = (normals * points).sum(1) - offsets
    signed = normals * torch.where(gap >= 0, 1.0, -1.0).to(normals).unsqueeze(1)
    max_step = torch.lerp(1 - points, points, _positive(signed.clone()))  # lerp is exact at 0 and 1
    # Squares of weights in [0, 1] cannot overflow, and a square that underflows is negligible.
    scale = normals.abs().amax(1, keepdim=True)
    scale = torch.where(scale == 0, 1.0, scale)
    weight = normals.abs() / scale
    needed = gap.abs() / scale.squeeze(1)
    if norm == "linf":
        moved = torch.minimum(_root(weight, max_step, weight * max_step, needed).unsqueeze(1), max_step)
    elif norm == "l1":
        moved = _l1_steps(weight, max_step, needed)
    else:
        least = torch.finfo(weight.dtype).tiny  # avoids 0/0 at weight 0, where the pixel does not move
        root = _root(weight.square(), max_step / weight.clamp_min(least), weight * max_step, needed)
        moved = torch.minimum(root.unsqueeze(1) * weight, max_step)
    zero_or_nan = torch.where(gap.isfinite(), 0.0, torch.nan).to(points)  # needed because torch.sign(NaN) is 0
    return torch.addcmul(zero_or_nan.unsqueeze(1), signed.sign_(), moved, value=-1)


def _l1_steps(weight: Tensor, max_step: Tensor, needed: Tensor) -> Tensor:
    """Return the step of every pixel, (B, D), so that Σ weight·step = ``needed``, (B,), largest weights first."""
    order = weight.argsort(dim=1, descending=True, stable=True)
    sorted_weight = weight.gather(1, order).double()
    sorted_max = max_step.gather(1, order).double()
    gains = sorted_weight * sorted_max
    remaining = (needed.double().unsqueeze(1) - (gains.cumsum(1) - gains)).clamp_min(0)
    share = torch.where(sorted_weight > 0, remaining / sorted_weight, 0)
    return torch.zeros_like(weight).scatter(1, order, torch.minimum(share, sorted_max).to(weight.dtype))


def _root(rate: Tensor, end: Tensor, most: Tensor, needed: Tensor) -> Tensor:
    """Return the root λ of Σ h_i(λ) = ``needed``, (B,).

    h_i rises with the slope ``rate`` up to λ = ``end``, and then stays at ``most``. ``rate``, ``end`` and ``most`` are
    (B, D). If the sum never reaches ``needed``, λ is the largest finite number.
    """
    root = torch.zeros_like(needed)
    # Reuse two buffers, because allocating them in every iteration takes longer than the sums.
    free, product = torch.empty_like(end), torch.empty_like(end)
    while True:
        _positive(torch.sub(end, root.unsqueeze(1), out=free))
        slope = torch.mul(free, rate, out=product).sum(1)
        remaining = needed - torch.mul(free.neg_().add_(1), most, out=product).sum(1)
        newer = torch.where(slope > 0, remaining / slope, torch.finfo(rate.dtype).max)
        # Accept increases only: rounding errors cannot cause a cycle, and a sample at its root stays there while other
        # samples continue.
        rises = newer > root
        if not rises.any():
            return root
        root = torch.where(rises, newer, root)


def _positive(values: Tensor) -> Tensor:
    """Replace each value in place by 1 if it is positive and by 0 otherwise, and return the tensor.

    A product with this mask takes a twentieth of the time of where(), which is slow for unpredictable masks.
    """
    return values.sign_().clamp_min_(0)
