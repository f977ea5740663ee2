"""Spatter: drops of water or mud on the lens (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from bench.attacks.corruptions import separable
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Spatter
from bench.attacks.corruptions.units import WHITE, Bytes, tint

WATER = np.array([175, 238, 238], dtype=np.float32)
MUD = np.array([63, 42, 20], dtype=np.float32)
#: Emboss filter: lightens the upper left of a drop and darkens its lower right.
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
DEEPEST = 20.0  # distance in pixels from the edge of a drop at which the depth saturates
FAINTEST_MUD = 0.8


def spatter(images: Bytes, constants: Spatter, draws: Draws) -> Floats:
    """Add drops of water, which lighten the image, or mud, which covers it: (N, H, W, C) float64.

    Drops are the pixels at which smoothed noise exceeds a threshold. The computation is float64, because the edges of
    the drops are detected in integer levels, where a rounding error can change a drop.
    """
    noise = constants.mean + constants.std * draws.normal(*images.shape[1:3]).astype(np.float64)
    liquid = ndimage.gaussian_filter(noise, constants.sigma_px, mode="nearest", axes=(1, 2))
    liquid[liquid < constants.threshold] = 0
    if constants.mud:
        covered = separable.blur((liquid > constants.threshold).astype(np.float32), constants.strength)[..., None]
        covered[covered < FAINTEST_MUD] = 0
        return images * (1 - covered) + covered * tint(MUD, images.shape[3])
    levels = (liquid * WHITE).astype(np.int64).astype(np.uint8)  # 256 wraps to 0, as in the published files
    light = np.stack([water(layer) for layer in levels])
    return images + constants.strength * light[..., None] * tint(WATER, images.shape[3])


def water(liquid: Bytes) -> Floats:
    """Return the light that each pixel of a film of water, (H, W) uint8, reflects: (H, W) float32 from 0 to 1."""
    edges = cv2.Canny(liquid, 50, 150)
    depth = np.minimum(cv2.distanceTransform(WHITE - edges, cv2.DIST_L2, 5), np.float32(DEEPEST))
    relief = cv2.equalizeHist(cv2.blur(depth, (3, 3)).astype(np.uint8))
    lit = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, EMBOSS), (3, 3)).astype(np.float32)
    light: Floats = liquid * lit
    brightest = light.max()
    return light / brightest if brightest > 0 else light
