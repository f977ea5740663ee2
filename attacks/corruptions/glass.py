"""Glass blur: pixels exchanged with their neighbours (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions import separable
from bench.attacks.corruptions.draws import Draws, Floats
from bench.attacks.corruptions.severities import Glass
from bench.attacks.corruptions.units import Bytes, to_bytes

Indices = NDArray[np.intp]


def glass_blur(images: Bytes, constants: Glass, draws: Draws) -> Floats:
    """Blur, replace every pixel by a nearby pixel, and blur again: (N, H, W, C) float32.

    The published program intends to swap two pixels. For a colour image it copies one over the other, because its
    pixels are views of the array that it writes to. The published files contain this effect, and so does this function.
    """
    height, width, channels = images.shape[1:]
    softened = to_bytes(separable.blur(images, constants.sigma_px))
    pixels = softened.reshape(-1, channels)
    for _ in range(constants.iterations):
        pixels = pixels.take(copied_from(height, width, constants.max_delta_px, draws), axis=0)
    return separable.blur(pixels.reshape(images.shape), constants.sigma_px)


def copied_from(height: int, width: int, reach: int, draws: Draws) -> Indices:
    """Return the source of every pixel after one pass over each image: (N·H·W,) indices of pixels of the batch.

    The pass goes from the lower right to the upper left. It copies to (h, w) from (h + a, w + b), with a and b uniform
    on −reach…reach−1. If the source was overwritten earlier in the pass, its new value is copied. Such chains of copies
    are followed to their ends by repeated doubling. A border, ``reach`` + 1 pixels wide at the top and on the left,
    keeps its values.
    """
    down, right = ((draws.uniform(height, width) * (2 * reach)).astype(np.intp) - reach for _ in ("down", "right"))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    moved = (rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)
    moved = np.broadcast_to(moved, down.shape).reshape(-1)
    indices = np.arange(down.size)
    source = indices + ((down * width + right).reshape(-1) * moved)
    # A source with a larger index was overwritten earlier in the pass, so that its value came from another pixel.
    chained = np.flatnonzero((source > indices) & moved.take(source))
    return _ends(source, indices, chained)


def _ends(source: Indices, indices: Indices, chained: Indices) -> Indices:
    """Return ``source`` of the last pixel of every chain. The chain of each pixel in ``chained`` continues."""
    onward = indices.copy()
    onward[chained] = source[chained]
    while len(chained):
        further = onward.take(onward[chained])
        going = further != onward[chained]
        onward[chained] = further
        chained = chained[going]
    return source.take(onward)
