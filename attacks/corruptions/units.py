"""Images as the corruptions hold them: (N, H, W, C), C = 1 or 3, from 0 (black) to 255 (white)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

WHITE: Final = 255

#: How much of red, green and blue is in a grey (ITU-R BT.601, as OpenCV and Pillow have it).
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def to_bytes(pixels: NDArray[np.floating] | Bytes) -> Bytes:
    """Clipped to black and white, and cut off to whole numbers, not rounded: so the published files were made."""
    cut: Bytes = np.clip(pixels, 0, WHITE).astype(np.uint8, copy=False)
    return cut


def tint(colour: NDArray[np.floating], channels: int) -> NDArray[np.float32]:
    """``colour``, (..., 3), for an image of so many channels: itself, or its grey as (..., 1)."""
    as_float = np.asarray(colour, dtype=np.float32)
    return as_float if channels == 3 else (as_float @ LUMA)[..., None]
