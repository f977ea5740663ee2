"""Image files of a folder: which there are, what they hash to, and their pixels at one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.source import read_file

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: How an image of another size is made to fit; a change of it must change the hash of every split.
FITTING = "shorter side to S, bilinear with antialiasing; centre crop; RGB"

#: Side up to which decoding is so quick that threads lose more by taking turns than they win.
SMALL = 64


def list_images(folder: Path) -> list[str]:
    """The image files below ``folder`` as sorted posix paths relative to it; hidden ones are left out."""
    names = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(parent).relative_to(folder).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        names += [prefix + f for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
    return sorted(names)


def digest_files(root: Path, names: Sequence[str], size: int) -> bytes:
    """A digest of the files' bytes and of what is made of them, without decoding.

    One thread: on files of a few kilobytes several are slower.
    """
    digest = hashlib.sha256(f"{size}: {FITTING}".encode())
    for name in names:
        digest.update(hashlib.sha256(read_file(f"{root}/{name}")).digest())
    return digest.digest()


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header. Raises BenchError when it is no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except _decoding_errors():
        raise _unreadable(path) from None


def read_images(paths: Sequence[Path], size: int, *, fit: bool) -> NDArray[np.uint8]:
    """Pixels (N, 3, size, size). Raises BenchError naming the first file that cannot be used."""
    pixels = np.empty((len(paths), 3, size, size), np.uint8)

    def fill(index: int) -> None:
        pixels[index] = read_image(paths[index], size, fit=fit)

    if size <= SMALL:
        for index in range(len(paths)):
            fill(index)
    else:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(fill, range(len(paths))))
    return pixels


def read_image(path: Path, size: int, *, fit: bool) -> NDArray[np.uint8]:
    """One image as (3, size, size). Without ``fit`` one of another size raises BenchError."""
    image = _decode(path)
    if not fit and image.size != (size, size):
        raise BenchError(
            f"{path} is {image.width}×{image.height} but other images are {size}×{size}; "
            f"give --image-size {size} to have every image resized and cropped."
        )
    return np.asarray(fit_image(image, size)).transpose(2, 0, 1)


def fit_image(image: Image, size: int) -> Image:
    """Resize the shorter side to ``size`` and cut the middle out of the longer one."""
    from PIL.Image import Resampling

    width, height = image.size
    if min(width, height) != size:
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        image = image.resize((width, height), Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _decode(path: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise BenchError(f"{path} has {image.mode} pixels; images of 8 bits a channel are needed.")
            return image.convert("RGB")
    except _decoding_errors():
        raise _unreadable(path) from None


def _decoding_errors() -> tuple[type[Exception], ...]:
    from PIL.Image import DecompressionBombError

    # PIL reports damage in many ways; SyntaxError is how its PNG reader says "broken".
    return (OSError, SyntaxError, ValueError, EOFError, LookupError, DecompressionBombError)


def _unreadable(path: Path) -> BenchError:
    return BenchError(f"{path} is damaged or not an image; repair or remove it.")
