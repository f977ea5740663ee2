"""Open image files within limits: the header is read first, and a large image is never decoded.

A file of a few bytes may declare 4 billion pixels, and a strip of 1×14000 pixels has 700 million after its shorter side
was resized to 224. Both are refused by their numbers of pixels, before any pixel is decoded.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.limits import IMAGE, LARGE_IMAGE, PIXELS
from bench.core.paths import shown
from bench.runtime.input_files import open_input

if TYPE_CHECKING:
    from PIL.Image import Image

_ONE_AT_A_TIME = threading.Lock()


class TooManyPixelsError(BenchError):
    """Error for an image with more than PIXELS pixels, as stored or after its shorter side was resized."""


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open an image file and read its header. Raises BenchError for a file that cannot be opened or is too large.

    Raises the exceptions of Pillow for a file that is damaged or not an image.
    """
    from PIL import Image

    # The limit of Pillow is higher, and its warning would be shown in addition to the error.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    with open_input(path, IMAGE) as file:
        try:
            image = Image.open(file)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise TooManyPixelsError(f"{shown(path)} has more than {PIXELS:,} pixels; {_REMEDY}.") from None
        with image:
            check_pixels(path, *image.size)
            yield image


def check_pixels(path: Path, width: int, height: int) -> None:
    """Raise TooManyPixelsError for an image that is too large to be decoded, and BenchError for one without pixels."""
    if not width * height:
        raise BenchError(f"{shown(path)} is {width}×{height} and has no pixels; repair or remove it.")
    if width * height > PIXELS:
        raise TooManyPixelsError(
            f"{shown(path)} is {width}×{height} pixels, more than the limit of {PIXELS:,}; {_REMEDY}."
        )


def check_resized(path: Path, size: tuple[int, int], resized: tuple[int, int]) -> None:
    """Raise TooManyPixelsError if an image of ``size`` is too large after it was ``resized``, before its crop."""
    if resized[0] * resized[1] > PIXELS:
        raise TooManyPixelsError(
            f"{shown(path)} is {size[0]}×{size[1]} pixels, and {resized[0]}×{resized[1]} after its shorter side was "
            f"resized, more than the limit of {PIXELS:,} pixels; crop it, or remove it."
        )


@contextlib.contextmanager
def memory_for(*sizes: tuple[int, int]) -> Iterator[None]:
    """Let only one thread at a time decode or resize a large image. ``sizes`` are the sizes that it has in turn."""
    is_large = max(width * height for width, height in sizes) > LARGE_IMAGE
    with _ONE_AT_A_TIME if is_large else contextlib.nullcontext():
        yield


_REMEDY = "save it with fewer pixels, or remove it"
