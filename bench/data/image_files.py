"""Hash image files, and decode them to pixels of one size.

Files are decoded by Pillow. Only the first frame of an animation, or the first page of a document, is used. An EXIF
orientation is applied (torchvision and timm ignore it). Transparency is dropped. Colour profiles are ignored, also for
CMYK.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.limits import PIXELS
from bench.core.paths import shown
from bench.core.specs import Fitting
from bench.data.content_hashes import Stamp, hash_files, unchanged
from bench.data.image_bounds import (
    TooManyPixelsError,
    check_pixels,
    check_resized,
    memory_for,
    open_image,
    open_stream,
    tile_size,
)
from bench.data.split import Files

if TYPE_CHECKING:
    from PIL.Image import Image

#: Description of the resizing, which is part of the hash of every split. Change it whenever the resizing changes.
FITTING = "shorter side to floor(S / crop_pct), antialiased; centre crop; rounding as in torchvision; RGB"

#: Version of the hash of a file. Increase it whenever another orientation or inversion is found.
DIGEST_VERSION = 1

UPRIGHT = 1
ON_THEIR_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height

#: Every file with an orientation in EXIF or XMP contains at least one of these byte strings.
ORIENTATION_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation", b"Raw profile type exif")

#: First bytes of TIFF files: little or big endian, TIFF or BigTIFF.
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
SIGNED = 2

#: Formats for which Pillow returns 16-bit grey values as 0 to 65535. For other formats, sign or range are unknown.
SIXTEEN_BITS = ("JPEG2000", "PNG", "PPM")

#: Formats that Pillow recognises but cannot decode without other programs. IPTC may hold a file of any of the others.
UNDECODED = ("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
#: Decoder of Pillow that, before version 12, decompresses a whole file into memory.
UNBOUNDED = "fits_gzip"

#: Images with a side of at most this many pixels are decoded in one thread, which is faster for small images.
SMALL = 64
ROWS_OF = 2**20  # pixels that are converted from 16 to 8 bits together


def digest_files(paths: Sequence[Path], folder: Path) -> Files:
    """Hash every file in ``folder`` without decoding it. Raises BenchError for a file that cannot be read.

    Hashes are remembered, see :mod:`bench.data.content_hashes`. One thread is used, because several threads are slower
    for files of a few kilobytes.
    """
    form = f"image {DIGEST_VERSION}, Pillow {metadata.version('pillow')}"
    hashes, n_bytes = hash_files(paths, folder, digest=lambda content: _digest(content).hex(), form=form)
    return Files([bytes.fromhex(text) for text in hashes], n_bytes)


def digest_split(files: Files, fitting: Fitting) -> bytes:
    """Hash the digests of the files together with the resizing options."""
    digest = hashlib.sha256(f"{fitting.size}, {fitting.crop_pct}, {fitting.interpolation}: {FITTING}".encode())
    for part in files.digests:
        digest.update(part)
    return digest.digest()


def _digest(content: bytes) -> bytes:
    """Return the SHA-256 of a file, combined with a description of the rotation or inversion on reading, if any."""
    digest = hashlib.sha256(content).digest()
    change = _change_in(content)
    return hashlib.sha256(f"{change}: ".encode() + digest).digest() if change else digest


def _change_in(content: bytes) -> str:
    """Describe the rotation or inversion of the pixels on reading; empty if neither applies.

    Only TIFF files and files with an orientation mark are opened.
    """
    if not content.startswith(TIFF_MARKS) and not any(mark in content for mark in ORIENTATION_MARKS):
        return ""
    try:
        with open_stream(io.BytesIO(content)) as image:
            turn = _orientation(image)
            return "white is zero" if _white_is_zero(image) else "" if turn == UPRIGHT else f"orientation {turn}"
    except Exception:  # noqa: BLE001 - a damaged file: decoding will raise the error
        return ""


def opens(path: Path) -> bool:
    """Return whether the file is an image that Pillow can decode, judging by its header."""
    try:
        with open_image(path) as image:
            return image.format not in UNDECODED
    except TooManyPixelsError:
        return True  # an image; reading it raises the error
    except BenchError:  # not a regular file, or no permission
        return False
    except Exception:  # noqa: BLE001 - readers of Pillow raise any exception for a file that is no image of theirs
        return False


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of the upright image from its header.

    Raises BenchError if the file is not an image, or has too many pixels.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            turned = width != height and _orientation(image) in ON_THEIR_SIDE
            return (height, width) if turned else (width, height)
    except BenchError:
        raise
    except Exception as error:  # noqa: BLE001 - readers of Pillow raise any exception for a damaged file
        raise _unreadable(path, error) from None


@dataclass(frozen=True)
class FileReader:
    """Reader of the images of a split: the files, and how they are resized and cropped. It can be pickled."""

    paths: Sequence[Path]
    fitting: Fitting
    fit: bool  # False: an image of another size than ``fitting.size`` is an error
    stamps: Sequence[Stamp] = ()  # one per file: a file that differs from it has changed; empty: not compared

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the images at ``indices``, (M,), as (M, 3, S, S). Raises BenchError for a file that cannot be used."""
        with ExitStack() as stack:
            for i in indices if self.stamps else ():
                stack.enter_context(unchanged(self.paths[i], self.stamps[i]))
            return read_images([self.paths[i] for i in indices], self.fitting, fit=self.fit)

    @property
    def image_bytes(self) -> int:
        """Size in bytes of one decoded image."""
        return 3 * self.fitting.size**2

    def select(self, indices: NDArray[np.int64]) -> FileReader:
        """Return the reader of the images at ``indices``, (M,), in this order."""
        stamps = [self.stamps[i] for i in indices] if self.stamps else ()
        return replace(self, paths=[self.paths[i] for i in indices], stamps=stamps)


def read_images(paths: Sequence[Path], fitting: Fitting, *, fit: bool) -> NDArray[np.uint8]:
    """Read images as (N, 3, S, S) uint8, S = ``fitting.size``. Raises BenchError for a file that cannot be used.

    With ``fit``, images are resized and cropped; otherwise an image of another size is an error.
    """
    if fitting.size**2 > PIXELS:
        raise BenchError(f"--image-size {fitting.size} is more than {math.isqrt(PIXELS)} pixels; give a smaller size.")
    pixels = np.empty((len(paths), 3, fitting.size, fitting.size), np.uint8)

    def fill(index: int) -> None:
        pixels[index] = read_image(paths[index], fitting, fit=fit)

    if fitting.size <= SMALL:
        for index in range(len(paths)):
            fill(index)
    else:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(fill, range(len(paths))))
    return pixels


def read_image(path: Path, fitting: Fitting, *, fit: bool) -> NDArray[np.uint8]:
    """Read one image as (3, S, S) uint8. Raises BenchError for another size unless ``fit`` is set.

    Also raises BenchError for too many pixels, as stored or after the shorter side was resized.
    """
    size = fitting.size
    try:
        with open_image(path) as opened:
            resized = _resized(opened.size, fitting) if fit else (size, size)
            check_resized(path, opened.size, resized)
            with memory_for(opened.size, resized, tile_size(opened)):
                image = _decode(opened, path)
                if fit:
                    image = fit_image(image, fitting)
                opened.close()  # frees its pixels
    except BenchError:
        raise
    except Exception as error:  # noqa: BLE001 - readers of Pillow raise any exception for a damaged file
        raise _unreadable(path, error) from None
    if image.size != (size, size):
        raise BenchError(
            f"{shown(path)} is {image.width}×{image.height} but other images are {size}×{size}; "
            f"give --image-size {size} to have every image resized and cropped."
        )
    return np.asarray(image).transpose(2, 0, 1)


def fit_image(image: Image, fitting: Fitting) -> Image:
    """Resize and crop to ``fitting.size``, equal in every pixel to torchvision's ``Resize`` and ``CenterCrop``."""
    from PIL.Image import Resampling

    size, resized = fitting.size, _resized(image.size, fitting)
    if resized != image.size:
        image = image.resize(resized, Resampling[fitting.interpolation.upper()])
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _resized(sides: tuple[int, int], fitting: Fitting) -> tuple[int, int]:
    """Return width and height after the shorter side was resized."""
    shorter = math.floor(fitting.size / fitting.crop_pct)
    width, height = (side if min(sides) == shorter else int(shorter * side / min(sides)) for side in sides)
    return width, height


def _decode(image: Image, path: Path) -> Image:
    """Return the first frame, upright, in RGB. Raises BenchError, or the exceptions of Pillow for a damaged file."""
    from PIL import ImageOps

    if image.format in UNDECODED:  # before Pillow starts another program
        raise BenchError(f"{shown(path)} is {image.format}, which Pillow does not decode itself; convert or remove it.")
    if any(tile[0] == UNBOUNDED for tile in image.tile):  # type: ignore[attr-defined]
        raise BenchError(f"{shown(path)} is FITS with compressed pixels, which are not read; convert or remove it.")
    image.load()
    check_pixels(path, *image.size)  # decoding may change it
    if _is_signed(image):
        raise _unusable(path, "signed")
    upright = image if _orientation(image) == UPRIGHT else ImageOps.exif_transpose(image)
    return _as_rgb(upright, _top(image), path, white_is_zero=_white_is_zero(image))


def _orientation(image: Image) -> int:
    """Return the EXIF orientation, 1 to 8, that is not applied yet; 1 if the EXIF block cannot be read."""
    if image.format == "TIFF":  # Pillow applies the orientation itself
        return UPRIGHT
    try:
        orientation = image.getexif().get(0x0112, UPRIGHT)
    except Exception:  # noqa: BLE001 - Pillow may raise any error for a damaged EXIF block; the pixels may be intact
        return UPRIGHT
    return orientation if orientation in range(1, 9) else UPRIGHT


def _top(image: Image) -> int | None:
    """Return the value of white in an image of more than 8 bits; None if it is unknown."""
    if image.format == "TIFF":
        return 2 ** int(_tag(image, BITS, (16,))[0]) - 1 if image.mode.startswith("I;16") else None
    return 65535 if image.mode.startswith("I") and image.format in SIXTEEN_BITS else None


def _white_is_zero(image: Image) -> bool:
    """Return whether 0 is white in the pixels that Pillow returns. Pillow inverts such TIFF files except in 16 bits."""
    is_deep = image.format == "TIFF" and image.mode.startswith("I;16")
    return is_deep and _tag(image, PHOTOMETRIC, 0) == 0


def _is_signed(image: Image) -> bool:
    """Return whether a TIFF file has signed pixels. Pillow reads signed 8-bit pixels as unsigned."""
    return image.format == "TIFF" and SIGNED in _tag(image, SAMPLE_FORMAT, ())


def _tag(image: Image, tag: int, default: Any) -> Any:
    return image.tag_v2.get(tag, default)  # type: ignore[attr-defined]


def _as_rgb(image: Image, top: int | None, path: Path, *, white_is_zero: bool = False) -> Image:
    """Convert an image of any mode to RGB. The alpha channel is dropped, as in torchvision and timm.

    Grey values of more than 8 bits become value · 255 / ``top``, rounded, and are inverted if ``white_is_zero``. Raises
    BenchError if ``top`` is None for such an image.
    """
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        if top is None:
            raise _unusable(path, image.mode)
        return Image.fromarray(_in_8_bits(np.asarray(image), top, white_is_zero=white_is_zero)).convert("RGB")
    if (image.mode == "P" and "transparency" in image.info) or image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    try:
        return image.convert("RGB")
    except ValueError:
        raise _unusable(path, image.mode) from None


def _in_8_bits(pixels: NDArray[Any], top: int, *, white_is_zero: bool) -> NDArray[np.uint8]:
    """Scale grey values from 0…``top`` to 0…255, by blocks of rows, because 64-bit integers take much memory."""
    grey = np.empty(pixels.shape, np.uint8)
    step = max(1, ROWS_OF // max(1, pixels.shape[1]))
    for start in range(0, len(pixels), step):
        values = pixels[start : start + step].astype(np.int64)
        levels = ((top - values if white_is_zero else values) * 510 + top) // (2 * top)
        grey[start : start + step] = levels.clip(0, 255)
    return grey


def _unreadable(path: Path, error: Exception) -> BenchError:
    if isinstance(error, OSError) and error.strerror:  # raised by the system, not by Pillow
        return BenchError(f"{shown(path)} cannot be read: {error.strerror}.")
    return BenchError(f"{shown(path)} is damaged or not an image that Pillow reads; repair, convert or remove it.")


def _unusable(path: Path, mode: str) -> BenchError:
    return BenchError(
        f"{shown(path)} has {mode} pixels, whose range is not known; save it with 8 bits, or 16 bits of grey."
    )
