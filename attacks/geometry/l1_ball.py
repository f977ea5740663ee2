"""The L1 ball in the box [0, 1], after Croce and Hein 2021 (arXiv 2103.01208): projection, steps and draws.

Let r_i = x_i or 1 − x_i be the distance from pixel i to the bound in the direction of y_i. The point of
{δ: ‖δ‖₁ ≤ ε, 0 ≤ x + δ ≤ 1} nearest to y is

    δ_i = sign(y_i)·clip(|y_i| − λ, 0, r_i),   λ = 0 if this δ is in the ball, else  Σ_i clip(|y_i| − λ, 0, r_i) = ε.

The sum decreases with λ. Its slope changes where a pixel leaves its bound, at |y_i| − r_i, and where δ_i becomes 0, at
|y_i|. These values are sorted, and λ lies between two of them. All computations are float64, for images of any type.
This projection uses all of ε, unlike the projection onto the ball followed by the clip to the box.

The authors' program computes in float32 and adds the step to x + y, so that pixels with δ_i = 0 differ from x by
rounding errors and are treated as changed. Here, these pixels equal x.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.engine.counter_rng import bulk_uniform, derive


def project(points: Tensor, centre: Tensor, radii: Tensor | float) -> Tensor:
    """Return the points nearest to ``points``, (N, C, H, W), in the box and in the balls around ``centre``.

    ``radii`` is a tensor (N,) or one number.
    """
    y = (points.double() - centre.double()).flatten(1)
    max_step = torch.where(points > centre, 1 - centre, centre).double().flatten(1)
    delta = shrunk(y, max_step, torch.as_tensor(radii, dtype=torch.float64, device=y.device).expand(len(y)))
    moved = (centre.double() + delta.view_as(centre)).to(points.dtype)
    return torch.where(delta.view_as(centre) == 0, centre, moved)


def shrunk(y: Tensor, max_step: Tensor, radii: Tensor) -> Tensor:
    """Return δ of the module's formula, (N, D), for ``y`` and ``max_step`` r, (N, D) float64, and ``radii`` ε, (N,).

    An infinite ``max_step`` means that the pixel has no bound.
    """
    size = y.abs()
    bends = torch.cat((torch.zeros_like(size[:, :1]), (size - max_step).clamp_min(0), size), 1)
    starts = torch.zeros_like(bends)
    starts[:, 1 : 1 + y.shape[1]], starts[:, 1 + y.shape[1] :] = 1, -1
    bends, order = bends.sort(dim=1)
    moving = starts.gather(1, order).cumsum(1)  # number of pixels that shrink after this value of λ
    fallen = (moving[:, :-1] * bends.diff(dim=1)).cumsum(1)
    total = torch.minimum(size, max_step).sum(1, keepdim=True)
    sums = torch.cat((total, total - fallen), 1)
    last = ((sums > radii.unsqueeze(1)).sum(1, keepdim=True) - 1).clamp_min(0)
    over = sums.gather(1, last) - radii.unsqueeze(1)
    slope = moving.gather(1, last).clamp_min(1)
    multiplier = torch.where(over > 0, bends.gather(1, last) + over / slope, 0)
    return y.sign() * torch.minimum((size - multiplier).clamp_min(0), max_step)


def steepest_in_box(inputs: Tensor, gradient: Tensor, eps: float | Tensor) -> Tensor:
    """Return the perturbation δ in ball and box that maximises ⟨gradient, δ⟩, (N, C, H, W).

    The steepest pixels move to the bounds 0 or 1, one after the other, until the length is ``eps``: one number, or one
    per sample, (N,).
    """
    radii = eps.double().unsqueeze(1) if isinstance(eps, Tensor) else eps
    slope, image = gradient.flatten(1), inputs.flatten(1)
    max_step = torch.where(slope > 0, 1 - image, image).double().masked_fill(slope == 0, 0)
    order = slope.abs().argsort(dim=1, descending=True, stable=True)
    sorted_max = max_step.gather(1, order)
    spent = sorted_max.cumsum(1) - sorted_max
    moved = torch.minimum((radii - spent).clamp_min(0), sorted_max)
    return (slope.sign() * torch.zeros_like(max_step).scatter(1, order, moved).to(slope)).view_as(inputs)


def sparse_sign(gradient: Tensor, count: Tensor) -> Tensor:
    """Return the signs of the ``count``, (N,) int64, steepest pixels, divided by their number, so that ‖·‖₁ = 1.

    Pixels that are as steep as the last selected pixel are included. The shape is (N, C, H, W).
    """
    flat = gradient.flatten(1)
    index = (flat.shape[1] - count).clamp(0, flat.shape[1] - 1).unsqueeze(1)
    threshold = flat.abs().sort(dim=1).values.gather(1, index)
    signs = torch.where(flat.abs() >= threshold, flat.sign(), 0)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def uniform_draw(keys: Tensor, shape: tuple[int, ...], *, edge: bool) -> Tensor:
    """Draw uniformly from the unit ball, or from its surface if ``edge``: (B, *shape) float32.

    Exponential numbers with random signs are divided by their sum. For the ball, one more exponential number is added
    to the sum (the case p = 1 of Barthe et al. 2005, doi 10.1214/009117904000000874).
    """
    sizes = -torch.log1p(-bulk_uniform(derive(keys, "size"), shape).double())
    signs = torch.where(bulk_uniform(derive(keys, "sign"), shape) < 0.5, -1.0, 1.0)
    additional = -torch.log1p(-bulk_uniform(derive(keys, "rest"), (1,)).double()).squeeze(1)
    total = sizes.flatten(1).sum(1) + (0 if edge else additional)
    return (signs * sizes / total.view(-1, *[1] * len(shape))).float()
