"""Changes of colour: brightness and saturation in HSV, and contrast.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261.
"""

from __future__ import annotations

import numpy as np

from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Brightness, Contrast, Saturate
from bench.attacks.corruptions.units import WHITE, Bytes


def contrast(images: Bytes, constants: Contrast, draws: Draws) -> Floats:
    """Return m + factor·(x − m), m the mean of the image in each channel: (N, H, W, C) float32."""
    pixels = images.astype(np.float32)
    means = pixels.mean(axis=(1, 2), keepdims=True)
    pixels -= means
    pixels *= np.float32(constants.factor)
    pixels += means
    return pixels


def brightness(images: Bytes, constants: Brightness, draws: Draws) -> Floats:
    """Increase the value of HSV to V + shift, at most 1: (N, H, W, C) float32.

    Hue and saturation do not change: all channels are multiplied by the factor by which V increases.
    """
    value = images.max(axis=3, keepdims=True).astype(np.float32)
    brighter = np.minimum(value + np.float32(WHITE * constants.shift), WHITE)
    with np.errstate(divide="ignore", invalid="ignore"):
        bright: Floats = np.where(value > 0, images * (brighter / value), brighter)
    return bright


def saturate(images: Bytes, constants: Saturate, draws: Draws) -> Floats:
    """Change the saturation of HSV to S·gain + shift, at most 1: (N, H, W, C) float32.

    The difference of every channel to V is multiplied by the factor by which S increases. A grey pixel of a colour
    image has the hue 0, red, as in every conversion to HSV. A grey image is returned unchanged.
    """
    if images.shape[3] == 1:
        return images.astype(np.float32)
    value = images.max(axis=3, keepdims=True).astype(np.float32)
    gap = value - images
    chroma = gap.max(axis=3, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        saturation = np.where(value > 0, chroma / value, 0)
        changed = np.minimum(saturation * np.float32(constants.gain) + np.float32(constants.shift), 1)
        stretched = np.where(chroma > 0, gap * (changed / saturation), 0)
    red = (chroma == 0) * changed * value * np.array([0, 1, 1], dtype=np.float32)
    saturated: Floats = value - stretched - red
    return saturated
