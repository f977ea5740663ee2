"""Open image files within limits: the header is read first, and a large image is never decoded.

A file of a few bytes may declare 4 billion pixels, and a strip of 1×14000 pixels has 700 million after its shorter side
was resized to 224. Both are refused by their numbers of pixels, before any pixel is decoded, and so are large images in
the containers of :data:`CONTAINERS` and large tiles of TIFF files. Processes that decode images share their memory for
large ones, see :func:`share_memory`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.limits import IMAGE, LARGE_IMAGE, PIXELS
from bench.core.paths import shown
from bench.runtime.input_files import open_input

if TYPE_CHECKING:
    from PIL.Image import Image

#: Context manager that is entered to decode a large image of some number of pixels.
Turn = Callable[[int], contextlib.AbstractContextManager[object]]

#: First bytes of files that hold images with sizes of their own: Windows icons, macOS icons, and BLP textures.
CONTAINERS = (b"\0\0\1\0", b"icns", b"BLP1", b"BLP2")
TILE_TAGS = (322, 323)  # of TIFF: width and height

_COUNTING = threading.Lock()
_users = 0  # open images of all threads
_limit_of_user: int | None = None  # Pillow's limit before the first of them

_ONE_AT_A_TIME = threading.RLock()  # an image in a container has its turn inside of the container's
_turn: Turn = lambda pixels: _ONE_AT_A_TIME  # noqa: E731 - a variable, see share_memory


class TooManyPixelsError(BenchError):
    """Error for an image with more than PIXELS pixels, as stored or after its shorter side was resized."""


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open an image file and read its header. Raises BenchError for a file that cannot be opened or is too large.

    While it is open, an image in a container with too many pixels raises BenchError, too. Raises the exceptions of
    Pillow for a file that is damaged or not an image. The warnings of Pillow are not shown.
    """
    from PIL import Image

    with open_input(path, IMAGE) as file:
        try:
            with open_stream(file) as image:
                check_pixels(path, *image.size)
                check_pixels(path, *tile_size(image), name="tiles of ")
                yield image
        except Image.DecompressionBombError as error:
            number = re.search(r"\((\d+) pixels\)", str(error))
            pixels = f"{int(number[1]):,}" if number else "too many"
            raise TooManyPixelsError(
                f"{shown(path)} has {pixels} pixels, more than the limit of {PIXELS:,}; {_REMEDY}."
            ) from None


@contextlib.contextmanager
def open_stream(file: IO[bytes]) -> Iterator[Image]:
    """Open an image. While it is open, Pillow raises DecompressionBombError for too many pixels, and does not warn."""
    from PIL import Image

    # Pillow warns of damaged metadata, which are not used, and of sizes below its own limit.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with _turn_of_container(file), _limited(), Image.open(file) as image:
        yield image


def _turn_of_container(file: IO[bytes]) -> contextlib.AbstractContextManager[object]:
    """Return the turn to decode a container, whose header does not tell how many pixels the image in it has."""
    is_container = file.read(len(CONTAINERS[0])) in CONTAINERS
    file.seek(0)
    return _turn(PIXELS) if is_container else contextlib.nullcontext()


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Let Pillow raise DecompressionBombError above PIXELS, also for images in containers, in all threads."""
    from PIL import Image

    global _users, _limit_of_user
    with _COUNTING:
        if not _users:
            _limit_of_user, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, PIXELS // 2  # an error above twice of it
        _users += 1
    try:
        yield
    finally:
        with _COUNTING:
            _users -= 1
            if not _users:
                Image.MAX_IMAGE_PIXELS = _limit_of_user


def tile_size(image: Image) -> tuple[int, int]:
    """Return width and height of the tiles of a TIFF file, which are decoded whole; (1, 1) without tiles."""
    if image.format != "TIFF":
        return 1, 1
    width, height = (image.tag_v2.get(tag, 1) for tag in TILE_TAGS)  # type: ignore[attr-defined]
    return int(width), int(height)


def check_pixels(path: Path, width: int, height: int, *, name: str = "") -> None:
    """Raise TooManyPixelsError for an image that is too large to be decoded, and BenchError for one without pixels.

    ``name`` is a part of the image that has these sides.
    """
    verb = f"has {name}" if name else "is "
    if not width * height:
        raise BenchError(f"{shown(path)} {verb}{width}×{height} and has no pixels; repair or remove it.")
    if width * height > PIXELS:
        raise TooManyPixelsError(
            f"{shown(path)} {verb}{width}×{height} pixels, more than the limit of {PIXELS:,}; {_REMEDY}."
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
