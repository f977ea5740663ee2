"""Snow: flakes made from enlarged noise, blurred along the wind, over a whitened image.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""

from __future__ import annotations

import numpy as np

from bench.attacks.corruptions import separable
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.motion import along_lines
from bench.attacks.corruptions.severities import Snow
from bench.attacks.corruptions.units import LUMA, WHITE, Bytes, to_bytes


def snow(images: Bytes, constants: Snow, draws: Draws) -> Floats:
    """Return w·x + (1 − w)·max(x, 1.5·grey(x) + ½) plus flakes from two directions: (N, H, W, C) float32."""
    flakes = falling(images.shape[1:3], constants, draws)
    grey = images @ LUMA if images.shape[3] == 3 else images[..., 0]
    whitened = np.maximum(images, (1.5 * grey + WHITE / 2)[..., None])
    weight = np.float32(constants.image_weight)
    snowy: Floats = weight * images + (1 - weight) * whitened + flakes + flakes[:, ::-1, ::-1]
    return snowy


def falling(shape: tuple[int, ...], constants: Snow, draws: Draws) -> Floats:
    """Return flakes that fall at 45°…135°, in integer levels from 0 to 255: (N, H, W, 1) float32."""
    layer = constants.mean + np.float32(constants.std) * draws.normal(*shape)
    rows, columns = (separable.zoom_matrix(side, constants.zoom) for side in shape)
    enlarged = separable.filtered(layer, rows, columns)
    enlarged[enlarged < constants.threshold] = 0
    flakes = to_bytes(WHITE * enlarged)[..., None]
    angles = draws.uniform() * 90 - 135
    return np.rint(along_lines(flakes, constants.motion_radius_px, constants.motion_sigma_px, angles))
