"""Open image files within limits: the header is read first, and a large image is never decoded.

A file of a few bytes may declare 4 billion pixels, and a strip of 1×14000 pixels has 700 million after its shorter side
was resized to 224. Both are refused by their numbers of pixels, before any pixel is decoded. Processes that decode
images share their memory for large ones, see :func:`share_memory`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.limits import IMAGE, LARGE_IMAGE, PIXELS
from bench.core.paths import shown
from bench.runtime.input_files import open_input

if TYPE_CHECKING:
    from PIL.Image import Image

#: Context manager that is entered to decode a large image of some number of pixels.
Turn = Callable[[int], contextlib.AbstractContextManager[object]]

_ONE_AT_A_TIME = threading.Lock()
_turn: Turn = lambda pixels: _ONE_AT_A_TIME  # noqa: E731 - a variable, see share_memory


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
    pixels = max(width * height for width, height in sizes)
    with _turn(pixels) if pixels > LARGE_IMAGE else contextlib.nullcontext():
        yield


def share_memory(descriptor: int) -> None:
    """Let this process and others with the same file decode large images of at most PIXELS pixels together.

    Each locks a range of the file that is as long as its image has pixels. The lock of a killed process is released.
    """

    @contextlib.contextmanager
    def turn(pixels: int) -> Iterator[None]:
        start = _lock(descriptor, pixels)
        try:
            yield
        finally:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, pixels, start)

    global _turn
    _turn = turn


def _lock(descriptor: int, length: int) -> int:
    """Lock a free range of ``length`` ≤ PIXELS bytes below PIXELS, or wait for one. Return its start."""
    for start in range(0, PIXELS - length + 1, length):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
            return start
        except (BlockingIOError, PermissionError):  # it overlaps with the range of another process
            continue
    start = os.getpid() % (PIXELS // length) * length
    fcntl.lockf(descriptor, fcntl.LOCK_EX, length, start)
    return start


_REMEDY = "save it with fewer pixels, or remove it"
