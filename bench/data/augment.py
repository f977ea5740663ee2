"""Random flips, crops and noise for a batch, computed on the device of the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.specs import Recipe
from bench.data.sample_random import SampleRandom

# Defaults of torchvision's RandomResizedCrop.
CROP_AREA = (0.08, 1.0)  # share of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # width to height


def augment(
    inputs: Tensor, recipe: Recipe, *, mean: Tensor | None, std: Tensor | None = None, random: SampleRandom
) -> Tensor:
    """Augment a batch with the augmentations of ``recipe``, in the published order: flip, crop, noise.

    ``inputs`` is (N, C, H, W) in [0, 1]. ``mean``, (1, C, 1, 1), is the pixel that the normalisation maps to 0. Padding
    with ``mean`` before the normalisation equals zero padding after the normalisation. Likewise, noise of σ·``std``,
    with the ``std`` (1, C, 1, 1) of the normalisation, equals noise of σ after it; without ``std``, the normalisation
    is the identity. ``random`` gives the random numbers of each image. Noise is not clipped to [0, 1]. Returns
    (N, C, H, W).
    """
    if recipe.horizontal_flip:
        mirrored = random.uniform("flip").lt(0.5)
        inputs = torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(3), inputs)
    if recipe.crop_padding:
        fill = mean if recipe.crop_fill == "mean" and mean is not None else inputs.new_zeros(1)
        inputs = _random_crop(inputs - fill, recipe.crop_padding, random) + fill
    if recipe.resized_crop:
        inputs = _resized_crop(inputs, random)
    if recipe.noise:
        scale = std if recipe.noise_space == "normalized" and std is not None else 1.0
        inputs = inputs + recipe.noise * scale * random.normal("noise", *inputs.shape[1:])
    return inputs


def _random_crop(inputs: Tensor, padding: int, random: SampleRandom) -> Tensor:
    """Pad with zeros and crop to the original size at a random position, drawn per image."""
    count, _, height, width = inputs.shape
    padded = F.pad(inputs, [padding] * 4)
    offsets = (random.uniform("crop", 2) * (2 * padding + 1)).long()
    rows = offsets[:, :1] + torch.arange(height, device=inputs.device)  # (N, H)
    columns = offsets[:, 1:] + torch.arange(width, device=inputs.device)  # (N, W)
    sample = torch.arange(count, device=inputs.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _resized_crop(inputs: Tensor, random: SampleRandom) -> Tensor:
    """Crop a random box from each image and resize it bilinearly to the image's size.

    Boxes are clipped to the image.
    """
    draws = random.uniform("resized_crop", 4).T
    area = CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * draws[0]
    low, high = map(math.log, CROP_RATIO)
    ratio = torch.exp(low + (high - low) * draws[1])
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1.0)  # width, height
    centre = (1 - sides) * (2 * draws[2:].T - 1)  # the box stays inside [−1, 1]²
    theta = torch.cat([torch.diag_embed(sides), centre[:, :, None]], dim=2).to(inputs)
    grid = F.affine_grid(theta, list(inputs.shape), align_corners=False)
    return F.grid_sample(inputs, grid, mode="bilinear", padding_mode="border", align_corners=False)


def add_noise(inputs: Tensor, std: float, *, share: float, random: SampleRandom) -> Tensor:
    """Add Gaussian noise of standard deviation ``std`` to a ``share`` of the images, and clip to [0, 1].

    Which images get noise is drawn per image. ``inputs`` is (N, C, H, W). Images without noise are not changed.
    """
    chosen = random.uniform("noisy").lt(share).view(-1, 1, 1, 1)
    noisy = (inputs + std * random.normal("variant noise", *inputs.shape[1:])).clamp(0, 1)
    return torch.where(chosen, noisy, inputs)
