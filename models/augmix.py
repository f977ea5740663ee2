"""AugMix: mix chains of simple image operations, batched and on the device of the images.

Source: Hendrycks et al. 2020, arXiv 1912.02781. With the published settings (width 3, severity 3, depth 1 to 3 and
α = 1):

    x_mixed = (1 − m)·x + m·Σ_{i=1..3} w_i·chain_i(x),   w ~ Dirichlet(1, 1, 1), m ~ Beta(1, 1), uniform on [0, 1].

A chain applies one to three operations, drawn with replacement from OPERATIONS. None of them is one of the common
corruptions. All operations map images of 256 grey levels to such images, as those of Pillow do in the authors' code,
and are of two kinds: a table from 256 levels to 256 levels per channel, and an affine map of the pixel grid. Each step
of a chain therefore is one look-up and one resampling for the whole batch, whatever the images drew.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.image_random import ImageRandom

WIDTH, DEPTH, SEVERITY = 3, 3, 3.0
LEVELS = 256
OPERATIONS = (
    "identity", "autocontrast", "equalize", "posterize", "solarize",
    "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


def augment_and_mix(
    images: Tensor, random: ImageRandom, *, purpose: str, severity: float = SEVERITY, width: int = WIDTH
) -> Tensor:
    """Return the mixture of each image, (N, C, H, W) in [0, 1] for ``images`` (N, C, H, W) in [0, 1].

    Chains start from the image rounded to 256 levels. ``purpose`` names the random numbers. A ``severity`` of 0 returns
    ``images``.
    """
    if not severity:
        return images
    count = len(images)
    draws = random.uniform(purpose, width + 2, DEPTH + 1)  # (N, width + 2, DEPTH + 1)
    kinds, levels, signs = (random.uniform(f"{purpose} {part}", width, DEPTH) for part in ("kind", "level", "sign"))
    exponential = -torch.log1p(-draws[:, :width, 0])
    weights = exponential / exponential.sum(1, keepdim=True).clamp_min(1e-30)  # Dirichlet(1, …, 1)
    mixing = draws[:, width, 0].view(-1, 1, 1, 1)
    depths = 1 + (draws[:, :width, 1] * DEPTH).long()  # (N, width), 1 to 3
    chosen = 1 + (kinds * (len(OPERATIONS) - 1)).long()  # (N, width, DEPTH); 0 is the identity
    chosen = torch.where(torch.arange(DEPTH, device=images.device) < depths[:, :, None], chosen, 0)
    level = 0.1 + (severity - 0.1) * levels  # uniform on [0.1, severity]
    chains = _quantized(images.detach()).repeat_interleave(width, 0)
    for step in range(DEPTH):
        chains = apply(
            chains, chosen[:, :, step].flatten(), level[:, :, step].flatten(), signs[:, :, step].flatten() < 0.5
        )
    chains = chains.view(count, width, *images.shape[1:]) / (LEVELS - 1)
    mixture = (weights.view(count, width, 1, 1, 1) * chains).sum(1)
    return ((1 - mixing) * images + mixing * mixture).to(images)


def apply(images: Tensor, chosen: Tensor, level: Tensor, negative: Tensor) -> Tensor:
    """Apply operation OPERATIONS[chosen] to each image.

    Args:
        images: Grey levels 0 to 255, (N, C, H, W), float.
        chosen: Index of the operation per image, (N,) int64.
        level: Strength, 0 to 10, (N,). Posterise removes 4 bits and level·4/10 more; solarise inverts levels from
            256 − level·25.6; rotate turns by level·3 degrees; shear moves a row by level·0.03 of its distance from the
            edge; translate moves by a third of the side times level/10. Bits, grey levels, degrees and pixels are
            rounded down to whole numbers.
        negative: Whether a rotation, shear or translation is reversed, (N,) bool.

    Returns:
        Grey levels 0 to 255, (N, C, H, W), rounded.
    """
    table = _tables(images, chosen, level)
    moved = torch.gather(table, 2, images.long().flatten(2)).view_as(images)
    return _resampled(moved, _affine(chosen, level, negative, images.shape[-2:]), chosen)


def _quantized(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * (LEVELS - 1)).round()


def _is(chosen: Tensor, name: str) -> Tensor:
    """Return whether each image gets the operation ``name``, as 0.0 or 1.0, (N,)."""
    return (chosen == OPERATIONS.index(name)).float()


def _tables(images: Tensor, chosen: Tensor, level: Tensor) -> Tensor:
    """Return the table of each channel, (N, C, 256): the new level of each old one."""
    grey = torch.arange(LEVELS, device=images.device, dtype=images.dtype)
    histogram = torch.zeros(*images.shape[:2], LEVELS, device=images.device, dtype=images.dtype)
    flat = images.long().flatten(2)
    histogram.scatter_add_(2, flat, torch.ones_like(flat, dtype=images.dtype))
    level = level.view(-1, 1, 1)
    kept = 2.0 ** (4 + (level * 4 / 10).floor())  # number of levels that posterise merges: 4 bits are removed at least
    threshold = LEVELS - (level * LEVELS / 10).floor()
    tables = {
        "autocontrast": _stretched(histogram, grey),
        "equalize": _equalized(histogram, grey),
        "posterize": (grey / kept).floor() * kept,
        "solarize": torch.where(grey < threshold, grey, LEVELS - 1 - grey),
    }
    table = grey.expand_as(histogram)
    for name, values in tables.items():
        table = torch.where(_is(chosen, name).view(-1, 1, 1) > 0, values, table)
    return table


def _stretched(histogram: Tensor, grey: Tensor) -> Tensor:
    """Return the table of Pillow's autocontrast: the darkest level becomes 0, the brightest 255; (N, C, 256)."""
    present = histogram > 0
    low = torch.where(present, grey, LEVELS - 1.0).amin(2, keepdim=True)
    high = torch.where(present, grey, 0.0).amax(2, keepdim=True)
    scale = (LEVELS - 1) / (high - low).clamp_min(1.0)
    stretched = ((grey * scale - low * scale) + 1e-3).floor().clamp(0, LEVELS - 1)
    return torch.where(high > low, stretched, grey)


def _equalized(histogram: Tensor, grey: Tensor) -> Tensor:
    """Return the table of Pillow's equalize, (N, C, 256): a level becomes the share of darker pixels, times 255.

    With s = (number of pixels − number of the brightest level)/255, rounded down, the table is (s/2 + darker)/s,
    rounded down. The image is unchanged if it has one level, or s = 0.
    """
    present = histogram > 0
    last = torch.where(present, grey, 0.0).amax(2, keepdim=True).long()
    step = ((histogram.sum(2, keepdim=True) - histogram.gather(2, last)) / (LEVELS - 1)).floor()
    darker = histogram.cumsum(2) - histogram
    equalized = (((step / 2).floor() + darker) / step.clamp_min(1.0)).floor().clamp(0, LEVELS - 1)
    return torch.where((present.sum(2, keepdim=True) > 1) & (step > 0), equalized, grey)


def _affine(chosen: Tensor, level: Tensor, negative: Tensor, size: torch.Size) -> Tensor:
    """Return the map from output to input positions, (N, 2, 3), in pixels from the upper left corner of the image."""
    height, width = size
    sign = torch.where(negative, -1.0, 1.0)
    angle = _is(chosen, "rotate") * sign * (level * 3).floor() * (math.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    shear_x, shear_y = (_is(chosen, f"shear_{axis}") * sign * level * 0.03 for axis in "xy")
    move_x, move_y = (
        _is(chosen, f"translate_{axis}") * sign * (level * side / 30).floor()
        for axis, side in (("x", width), ("y", height))
    )
    centre_x, centre_y = width / 2, height / 2
    return torch.stack(
        [
            torch.stack([cosine, shear_x - sine, centre_x - cosine * centre_x + sine * centre_y + move_x], 1),
            torch.stack([sine + shear_y, cosine, centre_y - sine * centre_x - cosine * centre_y + move_y], 1),
        ],
        1,
    )


def _resampled(images: Tensor, affine: Tensor, chosen: Tensor) -> Tensor:
    """Resample bilinearly and round. Positions outside the image are black, as in Pillow."""
    height, width = images.shape[-2:]
    x = (torch.arange(width, device=images.device) + 0.5).expand(height, width)
    y = (torch.arange(height, device=images.device) + 0.5)[:, None].expand(height, width)
    positions = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # (3, H·W)
    source = (affine.to(images) @ positions.to(images)).view(-1, 2, height, width)
    inside = ((source >= 0) & (source < source.new_tensor([width, height]).view(1, 2, 1, 1))).all(1, keepdim=True)
    grid = 2 * source / source.new_tensor([width, height]).view(1, 2, 1, 1) - 1
    sampled = F.grid_sample(
        images, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=False
    )
    geometric = chosen.view(-1, 1, 1, 1) >= OPERATIONS.index("rotate")
    return torch.where(geometric, torch.where(inside, sampled, 0.0).round(), images)
