"""Random crops and flips of a batch on the device it lies on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(inputs: Tensor, *, crop_padding: int, horizontal_flip: bool, generator: torch.Generator) -> Tensor:
    """Pad by zeros and crop back at a random place, then mirror every other image on average.

    ``inputs`` is (N, C, H, W); the draws come from ``generator`` (on the CPU), one pair of offsets an image.
    """
    if crop_padding:
        inputs = _random_crop(inputs, crop_padding, generator)
    if horizontal_flip:
        mirrored = torch.rand(len(inputs), generator=generator).lt(0.5).to(inputs.device)
        inputs = torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(3), inputs)
    return inputs


def _random_crop(inputs: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = inputs.shape
    padded = F.pad(inputs, [padding] * 4)
    offsets = torch.randint(2 * padding + 1, (count, 2), generator=generator).to(inputs.device)
    rows = offsets[:, :1] + torch.arange(height, device=inputs.device)  # (N, H)
    columns = offsets[:, 1:] + torch.arange(width, device=inputs.device)  # (N, W)
    sample = torch.arange(count, device=inputs.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
