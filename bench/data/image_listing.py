"""List the image files of a class folder, and the files that are not used."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError
from bench.data.image_files import opens

#: Files with these extensions are images and are not opened. A damaged file is therefore an error and never left out.
EXTENSIONS = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip

#: Names, in lower case, of files that operating systems create. They are ignored, as are names with a leading dot.
SYSTEM_FILES = frozenset({"__macosx", "desktop.ini", "ehthumbs.db", "thumbs.db"})

Inode = tuple[int, int]


@dataclass(frozen=True)
class Listing:
    """Files below one folder, by relative POSIX path in Unicode's composed form (NFC)."""

    images: Mapping[str, Path] = field(default_factory=dict)  # sorted
    left_out: tuple[str, ...] = ()  # files other than images, hidden images, broken links, links to a parent folder


def list_images(folder: Path) -> Listing:
    """List the files in ``folder`` and below. Follow links to files and folders, except links to a parent folder.

    A file is an image if it has the extension of an image or if Pillow can open it. Raises BenchError for a folder that
    cannot be read, and for two names that are equal in NFC.
    """
    images: dict[str, Path] = {}
    left_out: list[str] = []
    if os.path.isdir(folder):
        _walk(folder, "", _inodes(folder), images, left_out)
    return Listing(dict(sorted(images.items())), tuple(sorted(left_out)))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is ignored."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def normalised(name: str) -> str:
    r"""Return the ``name`` of a file decoded as UTF-8 in NFC, in every locale.

    Some systems store "é" as one code point and others as two. In NFC it is one code point.

    >>> normalised("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "surrogateescape"))


def scan(folder: Path) -> list[Path]:
    """Return the visible entries of ``folder``, sorted. Raises BenchError if it cannot be read."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not is_hidden(name)]
    except OSError as error:
        raise BenchError(f"{folder} cannot be read: {error.strerror or error}.") from None


def hidden_images(folder: Path) -> list[str]:
    """List the hidden entries of ``folder``: images (by extension), and folders with such images."""
    hidden = []
    for name in sorted(os.listdir(folder)):
        if not is_hidden(name) or name.startswith("._"):  # AppleDouble files are not images
            continue
        path = folder / name
        inside = (file for _, _, files in os.walk(path) for file in files if not file.startswith("._"))
        if any(_extension(file) in EXTENSIONS for file in ([name] if os.path.isfile(path) else inside)):
            hidden.append(f"{name}{'/' if os.path.isdir(path) else ''} (hidden)")
    return hidden


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def by_normalised_name(paths: list[Path]) -> dict[str, Path]:
    """Map NFC names to the paths of one folder. Raises BenchError, showing code points, if two names are equal."""
    by_name: dict[str, Path] = {}
    for path in paths:
        earlier = by_name.setdefault(normalised(path.name), path)
        if earlier is not path:
            raise BenchError(
                f"{path.parent} holds {earlier.name!a} and {path.name!a}, which are one name in Unicode's "
                "composed form; rename or merge them."
            )
    return by_name


def _walk(folder: Path, prefix: str, above: frozenset[Inode], images: dict[str, Path], left_out: list[str]) -> None:
    """Fill ``images`` and ``left_out``. ``above`` are the inodes of ``folder`` and of its parent folders."""
    entries = by_normalised_name(scan(folder))
    left_out += [prefix + name for name in hidden_images(folder)]
    for own_name, path in entries.items():
        name, status = prefix + own_name, _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if inode in above:
                left_out.append(f"{name}/ (a link to a parent folder)")
            else:
                _walk(path, f"{name}/", above | {inode}, images, left_out)
        elif _is_image(path, status):
            images[name] = path
        else:
            left_out.append(name)


def _is_image(path: Path, status: os.stat_result | None) -> bool:
    """Return whether the file is an image. For a broken link (``status`` None), only the extension is checked."""
    if status is not None and not stat.S_ISREG(status.st_mode):
        return False
    return path.suffix.lower() in EXTENSIONS or (status is not None and opens(path))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _inodes(folder: Path) -> frozenset[Inode]:
    """Return the inodes of ``folder`` and of its parents, along both the given path and the resolved path."""
    real = folder.resolve()
    statuses = (_status(path) for path in (real, *real.parents, *folder.absolute().parents))
    return frozenset((status.st_dev, status.st_ino) for status in statuses if status is not None)
