"""Folders of image files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image


def image_folder(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Two images per class and split in ten classes, in turn of the given (width, height)."""
    random = np.random.default_rng(0)
    for number, (split, label, index) in enumerate(product(("train", "test"), range(10), range(2))):
        width, height = sizes[number % len(sizes)]
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        path = folder / split / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height)).save(path)
    return folder
