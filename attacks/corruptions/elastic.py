"""Elastic transform: a random affine map, then a displacement of every pixel by smoothed noise.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bench.attacks.corruptions import separable
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Elastic
from bench.attacks.corruptions.units import Bytes


def elastic_transform(images: Bytes, constants: Elastic, draws: Draws) -> Floats:
    """Apply the transform of Simard et al. 2003, doi 10.1109/ICDAR.2003.1227801, after a random affine map.

    The affine map moves three points by up to ``affine_px`` pixels. Return (N, H, W, C) float32.
    """
    jolted = _jolted(images, (2 * draws.uniform(3, 2) - 1) * np.float32(constants.affine_px))
    moves = [_smooth(2 * draws.uniform(*images.shape[1:3]) - 1, constants) for _ in ("right", "down")]
    return separable.from_planes(_displaced(separable.to_planes(jolted), *moves))


def _smooth(noise: Floats, constants: Elastic) -> Floats:
    smoothed = separable.blur(noise, constants.smoothing_sigma_px, mode="reflect", truncate=3.0)
    return np.float32(constants.displacement_px) * smoothed


def _jolted(images: Bytes, jolts: Floats) -> Floats:
    """Apply the affine map that moves three points around the centre by ``jolts``, (N, 3, 2) pixels.

    The image is reflected at its outermost pixels.
    """
    height, width = images.shape[1:3]
    # The published program uses height before width. It has only square images.
    middle, reach = np.array([height, width], dtype=np.float32) // 2, min(height, width) // 3
    corners = np.array([[1, 1], [1, -1], [-1, -1]], dtype=np.float32) * reach + middle
    moved = images.astype(np.float32)
    for image, jolt in zip(moved, jolts, strict=True):
        matrix = cv2.getAffineTransform(corners, corners + jolt)
        warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        image[:] = warped.reshape(image.shape)
    return moved


def _displaced(planes: Tensor, right: Floats, down: Floats) -> Tensor:
    """Sample every pixel at the offset ``right`` and ``down``, (N, H, W) pixels each, with bilinear interpolation.

    The image is reflected at its edge, as by ``reflect`` of both SciPy and ``grid_sample``.
    """
    height, width = planes.shape[2:]
    columns = right + np.arange(width, dtype=np.float32)
    rows = down + np.arange(height, dtype=np.float32)[:, None]
    grid = np.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], axis=-1)
    return grid_sample(planes, torch.from_numpy(grid), mode="bilinear", padding_mode="reflection", align_corners=False)
