"""Any images in folders named after their classes: ``train/<class>/*`` and ``test/<class>/*`` (or ``val/``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data import image_files
from bench.data.registry import DATASETS, DataRequest
from bench.data.source import require_folder
from bench.data.split import Dataset, Split, split_sha

TEST_FOLDERS = ("test", "val")

#: About how many headers of a split are looked at for the common size.
SAMPLED_HEADERS = 100


#: Line breaks, and the surrogates as which a name that is not UTF-8 on disk arrives.
ODD = re.compile("[\r\n\ud800-\udfff]")


def load_imagefolder(request: DataRequest) -> Dataset:
    """Classes are the sorted folder names of train/; ids are paths below ``--data-dir``.

    Nothing is decoded here: files are hashed, a few headers are read, pixels come with ``Split.read``.
    """
    root = require_folder("imagefolder", request.data_dir, holding="train/ and test/ (or val/), a folder a class")
    folders = {"train": _require(root, ("train",)), "test": _require(root, TEST_FOLDERS)}
    names = {split: _images_by_class(root, folder) for split, folder in folders.items()}
    classes = _classes(names["train"], names["test"], root, folders["test"])
    size = _checked_size(request.image_size) or _common_size(root, names.values())
    fit = request.image_size is not None
    train, test = (_split(s, root, names[s], classes, size, fit=fit) for s in ("train", "test"))
    return Dataset(dataset_name(request), train, test, len(classes), size, official=False)


def dataset_name(request: DataRequest) -> str:
    """What the rows call it: the given name or the folder's own, but never the name of a registered data set.

    ``cifar10``, and spellings such as ``CIFAR-10``, are official files or nothing: a folder so called becomes
    ``cifar10-imagefolder``.
    """
    given = request.name or os.path.basename(os.path.abspath(request.data_dir or "."))
    name = re.sub(r"[^\w.-]+", "-", given).strip("-.") or "images"
    taken = {_letters(known) for known in DATASETS}
    return f"{name}-imagefolder" if _letters(name) in taken else name


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _require(root: Path, choices: Sequence[str]) -> str:
    """The first of ``choices`` that is a folder below ``root``."""
    for name in choices:
        if (root / name).is_dir():
            return name
    raise BenchError(
        f"imagefolder: {root} has no {' or '.join(f'{c}/' for c in choices)} folder; "
        "it must hold train/ and test/ (or val/), each with one folder a class."
    )


def _images_by_class(root: Path, split: str) -> dict[str, list[str]]:
    """Class name to the ids of its images; a folder without images is no class."""
    with os.scandir(root / split) as entries:
        folders = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    listed = {name: image_files.list_images(root / split / name) for name in folders}
    found = {name: [f"{split}/{name}/{file}" for file in files] for name, files in listed.items() if files}
    if not found:
        kinds = ", ".join(image_files.EXTENSIONS)
        raise BenchError(f"imagefolder: {root / split} has no class folder with images in it ({kinds}).")
    for name in (name for names in found.values() for name in names):
        _refuse_odd_name(name)
    return found


def _refuse_odd_name(name: str) -> None:
    """An id is hashed as UTF-8 and written one to a line."""
    if ODD.search(name):
        raise BenchError(f"imagefolder: the file name {name!r} has a line break or is not UTF-8; rename it.")


def _classes(
    train: Mapping[str, Sequence[str]], test: Mapping[str, Sequence[str]], root: Path, folder: str
) -> dict[str, int]:
    """Class name to label. Raises BenchError for a class that is tested but never trained."""
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise BenchError(
            f"imagefolder: {root / folder / unknown[0]} has images but {root / 'train' / unknown[0]} has none; "
            "a class that is tested must be trained."
        )
    return {name: label for label, name in enumerate(sorted(train))}


def _checked_size(size: int | None) -> int | None:
    if size is not None and size < 1:
        raise BenchError(f"--image-size {size} must be at least 1 pixel.")
    return size


def _common_size(root: Path, splits: Iterable[Mapping[str, Sequence[str]]]) -> int:
    """The side that evenly spaced images of each split have. Raises BenchError when they are not one square.

    One that was not among them is found when it is read.
    """
    seen: dict[tuple[int, int], str] = {}
    for by_class in splits:
        names = [name for names in by_class.values() for name in names]
        step = max(1, len(names) // SAMPLED_HEADERS)
        for name in names[::step]:
            seen.setdefault(image_files.image_size(root / name), name)
    (width, height), name = next(iter(seen.items()))
    if len(seen) > 1 or width != height:
        sizes = " and ".join(f"{w}×{h} ({name})" for (w, h), name in list(seen.items())[:2])
        raise BenchError(f"imagefolder: images are {sizes}; give --image-size S to have them resized and cropped.")
    return width


def _split(
    name: str, root: Path, by_class: Mapping[str, Sequence[str]], classes: Mapping[str, int], size: int, *, fit: bool
) -> Split:
    """A split over the files, in the order of their sorted ids."""
    members = sorted((sample_id, classes[c]) for c, ids in by_class.items() for sample_id in ids)
    ids = [sample_id for sample_id, _ in members]
    labels = np.array([label for _, label in members], dtype=np.int64)
    sha = split_sha(ids, labels, image_files.digest_files(root, ids, size))

    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return image_files.read_images([root / ids[i] for i in indices], size, fit=fit)

    return Split(name, ids, labels, sha, read)
