"""Image files: what they hash to, and their pixels at one size.

Pillow decodes them. The first frame of an animation or page of a document is the image. An EXIF orientation is applied
(torchvision and timm ignore it), transparency is dropped, colour profiles are ignored, CMYK is converted without one.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.source import read_file
from bench.data.split import Files

if TYPE_CHECKING:
    from PIL.Image import Image

#: How an image of another size is made to fit; a change of it must change the hash of every split.
FITTING = "shorter side to S, bilinear with antialiasing; centre crop; RGB"

UPRIGHT = 1
ON_THEIR_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height

#: One of these is in a file that says an orientation, as EXIF or XMP.
ORIENTATION_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation", b"Raw profile type exif")

#: Formats that Pillow recognises but cannot decode by itself.
UNDECODED = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")

#: Side up to which decoding is so quick that threads lose more by taking turns than they win.
SMALL = 64


def digest_files(paths: Sequence[Path]) -> Files:
    """Hash every file, without decoding.

    One thread: on files of a few kilobytes several are slower.
    """
    digests, n_bytes = [], 0
    for path in paths:
        content = read_file(path)
        n_bytes += len(content)
        digests.append(_digest(content))
    return Files(digests, n_bytes)


def digest_split(files: Files, size: int) -> bytes:
    """A digest of the files' bytes and of what is made of them."""
    digest = hashlib.sha256(f"{size}: {FITTING}".encode())
    for part in files.digests:
        digest.update(part)
    return digest.digest()


def _digest(content: bytes) -> bytes:
    """SHA-256 of a file. An orientation other than upright goes in too: it says that the image is read turned."""
    digest = hashlib.sha256(content).digest()
    turn = _orientation_in(content)
    return digest if turn == UPRIGHT else hashlib.sha256(f"orientation {turn}: ".encode() + digest).digest()


def _orientation_in(content: bytes) -> int:
    """The orientation in a file's bytes. Only files that can hold one are opened, as most hold none."""
    if not any(mark in content for mark in ORIENTATION_MARKS):
        return UPRIGHT
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return _orientation(image)
    except _decoding_errors():
        return UPRIGHT  # damaged, which whoever decodes it will say


def opens(path: Path) -> bool:
    """Whether Pillow opens the file as an image that it can decode; only the header is read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.format not in UNDECODED
    except _decoding_errors():
        return False


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image, from the header. Raises BenchError when it is no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = width != height and _orientation(image) in ON_THEIR_SIDE  # of a square nobody need ask
            return (height, width) if turned else (width, height)
    except _decoding_errors() as error:
        raise _unreadable(path, error) from None


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
    """The first frame, upright, in RGB."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            upright = image if _orientation(image) == UPRIGHT else ImageOps.exif_transpose(image)
            return _as_rgb(upright, _top(image), path)
    except _decoding_errors() as error:
        raise _unreadable(path, error) from None


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8, that is still to be applied. An EXIF block that cannot be read says nothing."""
    if image.format == "TIFF":  # Pillow applies it
        return UPRIGHT
    try:
        found = image.getexif().get(0x0112, UPRIGHT)
    except Exception:  # noqa: BLE001 - Pillow's parser fails on damaged blocks in many ways; the pixels may be whole
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def _top(image: Image) -> int | None:
    """The value of white in an image of more than 8 bits; None where nothing says it."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (16,))  # type: ignore[attr-defined]
        return 2 ** int(bits[0]) - 1 if image.mode.startswith("I;16") else None
    return 65535 if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")) else None


def _as_rgb(image: Image, top: int | None, path: Path) -> Image:
    """Any of Pillow's modes as RGB. Transparency is dropped: the colour below it shows, as in torchvision and timm.

    More than 8 bits of grey become value · 255 / ``top``, rounded. Raises BenchError where ``top`` is not known.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        if top is None:
            raise _unusable(path, image.mode)
        grey = (np.asarray(image).astype(np.int64) * 510 + top) // (2 * top)
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if (image.mode == "P" and "transparency" in image.info) or image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    try:
        return image.convert("RGB")
    except ValueError:
        raise _unusable(path, image.mode) from None


def _decoding_errors() -> tuple[type[Exception], ...]:
    from PIL.Image import DecompressionBombError

    # PIL reports damage in many ways; SyntaxError is how its PNG reader says "broken".
    return (OSError, SyntaxError, ValueError, EOFError, LookupError, DecompressionBombError, struct.error)


def _unreadable(path: Path, error: Exception) -> BenchError:
    if isinstance(error, OSError) and error.strerror:  # of the system, not of Pillow
        return BenchError(f"{path} cannot be read: {error.strerror}.")
    return BenchError(f"{path} is damaged or not an image; repair or remove it.")


def _unusable(path: Path, mode: str) -> BenchError:
    return BenchError(f"{path} has {mode} pixels, whose range is not known; save it with 8 bits, or 16 bits of grey.")
