"""Photographs of several sizes, cut out of the two that come with scikit-learn."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

Bytes = NDArray[np.uint8]


@cache
def pictures(count: int, side: int, channels: int = 3) -> Bytes:
    """``count`` crops, (count, side, side, channels), each half of the photograph's height."""
    rng, crops = np.random.default_rng(0), []
    for i in range(count):
        photograph = load_sample_images().images[i % 2]
        reach = photograph.shape[0] // 2
        top, left = (rng.integers(0, extent - reach) for extent in photograph.shape[:2])
        whole = photograph[top : top + reach, left : left + reach]
        crop = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
        crops.append(crop if channels == 3 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None])
    found = np.stack(crops)
    found.flags.writeable = False
    return found


def names(count: int) -> list[str]:
    return [f"picture-{i}" for i in range(count)]
