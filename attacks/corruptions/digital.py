"""JPEG compression and pixelation (Hendrycks and Dietterich 2019, arXiv 1903.12261)."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.severities import Jpeg, Pixelate
from bench.attacks.corruptions.units import Bytes


def jpeg_compression(images: Bytes, constants: Jpeg, draws: Draws) -> Bytes:
    """Encode and decode as JPEG of quality ``constants.quality``, with chroma subsampling: (N, H, W, C) uint8."""
    return np.stack([_through_jpeg(image, constants.quality) for image in images])


def stored_as_jpeg(images: Bytes, quality: int) -> Bytes:
    """Encode and decode as JPEG of ``quality``, the format in which ImageNet-C is stored.

    ImageNet-C's files also have optimised Huffman tables. They do not change the pixels and are left out here.
    """
    return np.stack([_through_jpeg(image, quality) for image in images])


def _through_jpeg(image: Bytes, quality: int) -> Bytes:
    """Encode and decode by OpenCV's libjpeg-turbo, which gives the same pixels as Pillow in a quarter of the time."""
    coloured = image.shape[2] == 3
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if coloured else image
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB if coloured else cv2.IMREAD_GRAYSCALE)
    assert decoded is not None, "OpenCV cannot read the JPEG that it wrote"
    lossy: Bytes = decoded.reshape(image.shape).astype(np.uint8, copy=False)
    return lossy


def pixelate(images: Bytes, constants: Pixelate, draws: Draws) -> Bytes:
    """Downsample by Pillow's box filter, then upsample by repeating pixels: (N, H, W, C) uint8."""
    height, width = images.shape[1:3]
    small = max(1, int(width * constants.scale)), max(1, int(height * constants.scale))
    coarse = np.empty_like(images)
    for image, out in zip(images, coarse, strict=True):
        means = np.frombuffer(picture(image).resize(small, Image.Resampling.BOX).tobytes(), dtype=np.uint8)
        coarser = means.reshape(small[1], small[0], image.shape[2])
        cv2.resize(coarser, (width, height), dst=out, interpolation=cv2.INTER_NEAREST_EXACT)
    return coarse


def picture(image: Bytes) -> Image.Image:
    """Convert an image, (H, W, C) uint8, to a Pillow image; the data are copied."""
    height, width, channels = image.shape
    mode = "L" if channels == 1 else "RGB"
    return Image.frombytes(mode, (width, height), image.tobytes())
