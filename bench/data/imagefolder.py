"""Load images from folders named after their classes: ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.core.names import allowed_name
from bench.core.specs import Fitting
from bench.core.words import pluralize
from bench.data import image_files
from bench.data.class_order import order_classes
from bench.data.content_hashes import stamps_of
from bench.data.image_listing import by_normalised_name, hidden_images, list_images, normalised, scan
from bench.data.registry import DATASETS, DataRequest
from bench.data.source import require_folder
from bench.data.split import ODD_ID, Dataset, Split, split_sha
from bench.runtime.input_files import is_folder

TEST_FOLDERS = ("test", "val")

#: Approximate number of image headers that are read per split to find the common size.
SAMPLED_HEADERS = 100

#: Maximum number of file names in a note.
NAMED = 3


@dataclass
class _Found:
    """Images of one split: paths by id, for each class. Ids and class names are in NFC."""

    folder: Path
    classes: dict[str, dict[str, Path]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # files that are not images of a class
    empty: list[str] = field(default_factory=list)  # class folders without files


def load_imagefolder(request: DataRequest) -> Dataset:
    """Load a folder of images. Classes are the ordered folder names in train/. Ids are paths below ``--data-dir``.

    Ids are in NFC. Files are hashed and some headers are read. Pixels are decoded only by ``Split.read``. Raises
    BenchError for missing folders, for files that cannot be used and for options that do not fit the images.
    """
    root = require_folder("imagefolder", request.data_dir, holding="train/ and test/ (or val/), one folder per class")
    folders = {"train": _require(root, ("train",)), "test": _require(root, TEST_FOLDERS)}
    splits = {split: _find_images(root / folder) for split, folder in folders.items()}
    _refuse_untrained(splits["train"], splits["test"])
    names, order_notes = order_classes(splits["train"].classes, request.class_order)
    applied = _fitting(request, splits.values())
    fitting = applied or Fitting(size=_common_size(splits.values()))
    labels = {name: label for label, name in enumerate(names)}
    train, test = (_split(s, splits[s], labels, fitting, fit=applied is not None) for s in ("train", "test"))
    return Dataset(
        dataset_name(request),
        train,
        test,
        len(names),
        fitting.size,
        official=False,
        notes=(*order_notes, *_notes_on_files(root, splits, folders["test"])),
        class_names=tuple(names),
        fitting=applied,
    )


def dataset_name(request: DataRequest) -> str:
    """Return the data set's name in the tables: the given name or else the name of the folder.

    Names of registered data sets are reserved. A folder called ``cifar10``, or ``CIFAR-10``, becomes
    ``cifar10-imagefolder``. A name that CSV readers would change, such as ``007``, becomes ``images-007``.
    """
    requested = request.name or normalised(os.path.basename(os.path.abspath(request.data_dir or ".")))
    name = allowed_name(re.sub(r"[^\w.-]+", "-", requested).strip("-."), "images")
    reserved = {_letters(registered) for registered in DATASETS}
    return f"{name}-imagefolder" if _letters(name) in reserved else name


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _require(root: Path, choices: Sequence[str]) -> str:
    """Return the first of ``choices`` that is a folder in ``root``. Raises BenchError if there is none."""
    for name in choices:
        if is_folder(root / name, "imagefolder"):
            return name
    raise BenchError(
        f"imagefolder: {root} has no {' or '.join(f'{c}/' for c in choices)} folder; "
        "it must hold train/ and test/ (or val/), each with one folder per class."
    )


def _find_images(split: Path) -> _Found:
    """Find the images of every class.

    Raises BenchError for a split without images, and for a class folder that has files but no image.
    """
    result = _Found(split)
    classes = by_normalised_name(scan(split))
    result.left_out += [f"{split.name}/{name}" for name in hidden_images(split)]
    for name, path in classes.items():
        if not os.path.isdir(path):
            result.left_out.append(f"{split.name}/{name}")
            continue
        listing = list_images(path)
        if listing.images:
            _refuse_unreadable(path, list(listing.images.values()))
            result.classes[name] = {f"{split.name}/{name}/{file}": source for file, source in listing.images.items()}
        elif listing.left_out:
            raise BenchError(
                f"imagefolder: the class folder {_shown(path)} has {pluralize(len(listing.left_out), 'file')} and no "
                f"image ({_first_names(listing.left_out)}); convert them to a format that Pillow reads, or remove the "
                "folder."
            )
        else:
            result.empty.append(f"{split.name}/{name}")
        result.left_out += [f"{split.name}/{name}/{file}" for file in listing.left_out]
    if not result.classes:
        raise BenchError(f"imagefolder: {split} has no class folder with images in it.")
    for image in (image for images in result.classes.values() for image in images):
        _refuse_odd_name(image)
    return result


def _refuse_unreadable(folder: Path, paths: Sequence[Path]) -> None:
    """Raise BenchError if no file can be opened as an image, although the extensions are image extensions."""
    if not any(image_files.opens(path) for path in paths):
        raise BenchError(
            f"imagefolder: the class folder {_shown(folder)} has {pluralize(len(paths), 'file')} with an extension of "
            f"images, but none can be read ({_first_names([path.name for path in paths])}); repair them, or remove the "
            "folder."
        )


def _notes_on_files(root: Path, splits: Mapping[str, _Found], test: str) -> tuple[str, ...]:
    """Return notes on files and folders that are not read, and on classes without test images.

    Every file of the splits is either an image of the data set or mentioned in a note.
    """
    left_out = [name for split in splits.values() for name in split.left_out]
    empty = [name for split in splits.values() for name in split.empty]
    untested = sorted(set(splits["train"].classes) - set(splits["test"].classes))
    unread = [name for name in TEST_FOLDERS if name != test and os.path.isdir(root / name)]
    return (
        *([f"{pluralize(len(left_out), 'file')} left out: {_first_names(left_out)}"] if left_out else []),
        *([f"{pluralize(len(empty), 'empty folder')} left out: {_first_names(empty)}"] if empty else []),
        *(
            [f"{pluralize(len(untested), 'class', 'classes')} without a test image: {_first_names(untested)}"]
            if untested
            else []
        ),
        *(f"{name}/ is not read, since {test}/ is the test split" for name in unread),
    )


def _first_names(names: Sequence[str]) -> str:
    """Return the first names as printable text on one line."""
    return ", ".join(map(_printable, names[:NAMED])) + (", …" if len(names) > NAMED else "")


def _printable(name: str) -> str:
    return ascii(name) if ODD_ID.search(name) else name


def _shown(path: Path) -> str:
    """Return the path as text. Non-ASCII names are shown as code points, because different names may look equal."""
    return str(path) if path.name.isascii() else f"{path.parent}/{path.name!a}"


def _refuse_odd_name(name: str) -> None:
    """Raise BenchError for a file name that cannot be an id. Ids are valid UTF-8 and are stored one per line."""
    if ODD_ID.search(name):
        raise BenchError(f"imagefolder: the file name {name!r} has a line break or is not UTF-8; rename it.")


def _refuse_untrained(train: _Found, test: _Found) -> None:
    """Raise BenchError for a class with test images but without training images."""
    unknown = sorted(set(test.classes) - set(train.classes))
    if unknown:
        raise BenchError(
            f"imagefolder: {_shown(test.folder / unknown[0])} has images but {_shown(train.folder / unknown[0])} has "
            "none; every class of the test split needs training images."
        )


def _fitting(request: DataRequest, splits: Iterable[_Found]) -> Fitting | None:
    """Return the resize and crop of the images; None if the images are read unchanged.

    ``request.default_fitting`` is not used to enlarge square images of one common size, so that perturbations are
    bounded in the original pixels.
    """
    if request.fitting is not None:
        return request.fitting
    if request.image_size is not None:
        if request.image_size < 1:
            raise BenchError(f"--image-size {request.image_size} must be at least 1 pixel.")
        return Fitting(size=request.image_size)
    default = request.default_fitting
    if default is None:
        return None
    sizes = list(_sampled_sizes(splits))
    width, height = sizes[0]
    return None if len(sizes) == 1 and width == height <= default.size else default


def _common_size(splits: Iterable[_Found]) -> int:
    """Return the common side of a sample of images. Raises BenchError if sizes differ or images are not square.

    The other images are checked when they are read.
    """
    ids_by_size = _sampled_sizes(splits)
    width, height = next(iter(ids_by_size))
    if len(ids_by_size) > 1 or width != height:
        sizes = " and ".join(f"{w}×{h} ({name})" for (w, h), name in list(ids_by_size.items())[:2])
        raise BenchError(f"imagefolder: images are {sizes}; give --image-size S to have them resized and cropped.")
    return width


def _sampled_sizes(splits: Iterable[_Found]) -> dict[tuple[int, int], str]:
    """Return the sizes of evenly spaced images of each split. The value for a size is the id of its first image."""
    ids_by_size: dict[tuple[int, int], str] = {}
    for split in splits:
        images = [image for of_class in split.classes.values() for image in of_class.items()]
        step = max(1, len(images) // SAMPLED_HEADERS)
        for name, path in images[::step]:
            ids_by_size.setdefault(image_files.image_size(path), name)
    return ids_by_size


def _split(name: str, images: _Found, labels_of: Mapping[str, int], fitting: Fitting, *, fit: bool) -> Split:
    """Make a split of the files, in the order of their sorted ids."""
    entries = {image: (c, path) for c, of_class in images.classes.items() for image, path in of_class.items()}
    ids = sorted(entries)
    paths = [entries[image][1] for image in ids]
    labels = np.array([labels_of[entries[image][0]] for image in ids], dtype=np.int64)
    stamps = stamps_of(paths)
    files = image_files.digest_files(paths, images.folder)
    sha = split_sha(ids, labels, image_files.digest_split(files, fitting))
    return Split(name, ids, labels, sha, image_files.FileReader(paths, fitting, fit, stamps), files)
