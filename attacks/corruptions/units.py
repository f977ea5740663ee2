"""Representation of images in the corruptions: (N, H, W, C), C = 1 or 3, from 0 (black) to 255 (white)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

WHITE: Final = 255

#: Weights of red, green and blue in grey (ITU-R BT.601, as in OpenCV and Pillow).
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def to_bytes(pixels: NDArray[np.floating] | Bytes) -> Bytes:
    """Clip to [0, 255] and truncate to integers. The published files are also truncated, not rounded."""
    cut: Bytes = np.clip(pixels, 0, WHITE).astype(np.uint8, copy=False)
    return cut


def tint(colour: NDArray[np.floating], channels: int) -> NDArray[np.float32]:
    """Return ``colour``, (..., 3), for an image with 3 ``channels``, or its grey value, (..., 1), for 1 channel."""
    as_float = np.asarray(colour, dtype=np.float32)
    return as_float if channels == 3 else (as_float @ LUMA)[..., None]
