"""Points on the way from an image to images of other classes, at the edge of its ball. They need no gradient.

A model that answers by the nearest training images, or by any other vote, has nearly no gradient, and random directions
rarely lead anywhere. The direction of an image of another class does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.attacks.norms import project
from bench.core.specs import Norm
from bench.data.tensors import Images

SIDE = 32  # pixels to which larger images are averaged before they are compared


def neighbours(images: Images, part: Tensor, count: int) -> Tensor:
    """Return the ``count`` nearest images of other classes for each of ``part``, (M,): positions (M, ≤ count).

    Distances are L2 over pixels. The nearest come first.
    """
    everyone = torch.arange(len(images))
    small = torch.cat([_small(images, batch) for batch in everyone.split(100)])
    apart = torch.cdist(small[part], small)
    same = images.labels[part][:, None] == images.labels[None]
    others = min(count, int((~same).sum(1).min()))
    return apart.masked_fill(same, torch.inf).topk(others, dim=1, largest=False).indices


def points_towards(images: Images, part: Tensor, found: Tensor, norm: Norm, eps: float) -> Iterator[Tensor]:
    """Yield the projections of the neighbours ``found`` onto the balls around ``part``, (M, C, H, W), column by column.

    They lie in [0, 1]. A neighbour that is less than ``eps`` away is its own projection.
    """
    inputs = images.inputs(part, found.device)
    for column in found.unbind(1):
        yield project(images.inputs(column, found.device), inputs, norm, eps)


def _small(images: Images, batch: Tensor) -> Tensor:
    inputs = images.inputs(batch, torch.device("cpu"))
    if max(inputs.shape[2:]) > SIDE:
        inputs = torch.nn.functional.adaptive_avg_pool2d(inputs, SIDE)
    return inputs.flatten(1)
