"""Per-image outcomes as short text, so that a baseline file can be read and compared line by line."""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint8]  # (images,): of how many cells each image is right; 0 or 1 where there is one cell


def encode(counts: Counts, parts: int) -> str:
    """A bit an image where there is one cell, most significant first, else a byte an image; both as base64.

    >>> encode(np.array([1, 0, 1], dtype=np.uint8), 1)
    'oA=='
    """
    content = np.packbits(counts) if parts == 1 else counts
    return base64.b64encode(content.tobytes()).decode()


def decode(text: str, n: int, parts: int) -> Counts:
    """Decode the text of :func:`encode` for ``n`` images. Raises ValueError for text that it cannot have written."""
    try:
        content = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError):
        raise ValueError("outcomes are not base64") from None
    counts = np.unpackbits(content) if parts == 1 else content
    if len(content) != (-(-n // 8) if parts == 1 else n):
        raise ValueError(f"outcomes are not those of {n} images")
    if parts == 1 and counts[n:].any():
        raise ValueError(f"outcomes hold images beyond the {n} there are")
    if (counts > parts).any():
        raise ValueError(f"outcomes hold an image that is right in more than {parts} cells")
    return np.asarray(counts[:n], dtype=np.uint8)
