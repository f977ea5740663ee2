"""Find adversarial candidates without gradients: move an image towards images of other classes, within the ε-ball.

A nearest-neighbour classifier, or any other model that decides by a vote, has almost no gradient, and random
perturbations rarely change its prediction. A perturbation towards an image of another class often does.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.attacks.geometry.norms import project
from bench.core.specs import Norm
from bench.data.tensors import Images

SIDE = 32  # larger images are averaged to this side length before the comparison
MOST = 2000  # maximum number of training images to compare with
ROOM = 2**27  # maximum total size of these training images in bytes, at one byte per value


def candidate_count(image_size: int) -> int:
    """Return the number of training images to compare with. Their side is ``image_size`` pixels."""
    return min(MOST, ROOM // (3 * image_size**2))


def neighbours(images: Images, part: Tensor, candidates: Images, count: int) -> Tensor:
    """Return the indices (M, ≤ count) of the nearest ``candidates`` of other classes, for each index in ``part`` (M,).

    The candidates are sorted by L2 distance over pixels, in ascending order.
    """
    distances = torch.cdist(_small(images, part), _small(candidates, torch.arange(len(candidates))))
    same = images.labels[part][:, None] == candidates.labels[None]
    available = min(count, int((~same).sum(1).min()))
    return distances.masked_fill(same, torch.inf).topk(available, dim=1, largest=False).indices


def points_towards(inputs: Tensor, candidates: Images, indices: Tensor, norm: Norm, eps: float) -> Iterator[Tensor]:
    """Yield, for each column of ``indices``, the neighbours projected onto the ε-balls around ``inputs`` (M, C, H, W).

    The projections are in [0, 1]. A neighbour inside the ball is yielded unchanged.
    """
    for column in indices.unbind(1):
        yield project(candidates.inputs(column, inputs.device), inputs, norm, eps)


def _small(images: Images, indices: Tensor) -> Tensor:
    batches = images.batches(indices.split(100), torch.device("cpu"))
    return torch.cat([_reduced(inputs).flatten(1) for inputs, _ in batches])


def _reduced(inputs: Tensor) -> Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(inputs, SIDE) if max(inputs.shape[2:]) > SIDE else inputs
