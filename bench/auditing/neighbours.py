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
MOST = 2000  # training images that are compared
ROOM = 2**27  # bytes that they may take


def candidate_count(image_size: int) -> int:
    """Return how many training images of ``image_size`` pixels a side to compare with."""
    return min(MOST, ROOM // (3 * image_size**2))


def neighbours(images: Images, part: Tensor, candidates: Images, count: int) -> Tensor:
    """Return the ``count`` nearest ``candidates`` of other classes for each of ``part``, (M,): positions (M, ≤ count).

    Distances are L2 over pixels. The nearest come first.
    """
    everyone = torch.arange(len(candidates))
    apart = torch.cdist(_small(images, part), torch.cat([_small(candidates, batch) for batch in everyone.split(100)]))
    same = images.labels[part][:, None] == candidates.labels[None]
    others = min(count, int((~same).sum(1).min()))
    return apart.masked_fill(same, torch.inf).topk(others, dim=1, largest=False).indices


def points_towards(inputs: Tensor, candidates: Images, found: Tensor, norm: Norm, eps: float) -> Iterator[Tensor]:
    """Yield the projections of the neighbours ``found`` onto the balls around ``inputs``, (M, C, H, W), by column.

    They lie in [0, 1]. A neighbour that is less than ``eps`` away is its own projection.
    """
    for column in found.unbind(1):
        yield project(candidates.inputs(column, inputs.device), inputs, norm, eps)


def _small(images: Images, batch: Tensor) -> Tensor:
    inputs = images.inputs(batch, torch.device("cpu"))
    if max(inputs.shape[2:]) > SIDE:
        inputs = torch.nn.functional.adaptive_avg_pool2d(inputs, SIDE)
    return inputs.flatten(1)
