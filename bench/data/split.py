"""One split of a data set: who is in it, what it is called by hash, and its images on demand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.names import changed_by_readers, check_name, text_part
from bench.core.specs import Fitting
from bench.core.words import pluralize
from bench.data.labels import integer_labels
from bench.data.sampling import proportional_order

#: How many training images the mean and the deviation are measured on where none are published.
MOMENT_IMAGES = 2000

CHUNK_PIXELS = 2**22  # pixels that readable_images reads at a time

#: Line breaks, and the surrogates as which a name that is not UTF-8 on disk arrives.
ODD_ID = re.compile("[\r\n\ud800-\udfff]")

#: Images as they are stored: (N, C, H, W) with C = 1 or 3; uint8 in 0…255 or float32 in [0, 1].
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class Files(NamedTuple):
    """The files of a split whose images are files."""

    digests: Sequence[bytes]  # of each image's file
    n_bytes: int  # of all of them


@dataclass(frozen=True)
class Split:
    """The images of one split, read only when asked for.

    ``sha`` covers ids, labels and content of the whole split, so two splits with one hash are the same images
    with the same names. ``read`` takes indices and returns their pixels. :func:`check_dataset` turns
    labels of another type into int64, or refuses them.
    """

    name: str  # "train" or "test"
    ids: Sequence[str]
    labels: NDArray[np.int64]  # (N,), in 0…K−1
    sha: str
    read: Callable[[NDArray[np.int64]], Pixels]
    files: Files | None = None  # None: the images are in memory, or are cheap to read

    def __len__(self) -> int:
        return len(self.ids)


class Moments(NamedTuple):
    """Mean and standard deviation for each channel, of training images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set that has been found on disk and can be read."""

    name: str
    train: Split
    test: Split
    num_classes: int
    image_size: int  # side of the square images that are attacked
    fitting: Fitting | None = field(default=None, kw_only=True)  # resize and crop on reading; None: read as they are
    official: bool  # the files have the published checksums
    published: Moments | None = None  # None: measured when first asked for, as only a training needs them
    notes: tuple[str, ...] = ()  # what every row says of the data, such as files that were left out
    class_names: tuple[str, ...] = ()  # in the order of the labels; empty: unknown

    @cached_property
    def moments(self) -> Moments:
        return self.published or measure_moments(self.train)

    @property
    def mean(self) -> tuple[float, ...]:
        return self.moments.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.moments.std


def split_sha(ids: Sequence[str], labels: NDArray[np.int64], content: bytes) -> str:
    """The hash of a split from its ids, its labels and a digest of its content."""
    digest = hashlib.sha256()
    digest.update("\n".join(ids).encode())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    digest.update(content)
    return text_part(digest.hexdigest(), 16)


def array_split(name: str, pixels: Any, labels: Any, *, copy: bool = True) -> Split:
    """A split over images and integer labels in memory: arrays, tensors or, of labels, a list.

    Ids are ``<name>/<index in the given order>``. The split keeps a copy of the images, so that they stay those of its
    hash; ``copy=False`` is for an array that nobody else holds. Raises BenchError for images that are no plain array;
    labels are refused by :func:`check_dataset`.
    """
    if isinstance(pixels, np.ma.MaskedArray):
        raise BenchError(f"the {name} images are a masked array; give plain arrays.")
    with as_user_errors(f"the {name} images are no plain array"):
        array: Pixels = np.asarray(pixels).copy() if copy else np.asarray(pixels)
    ids = [f"{name}/{i:05d}" for i in range(len(array))]
    content = hashlib.sha256(np.ascontiguousarray(array).data).digest()
    try:
        labels = integer_labels(labels, ids, where=name)
    except BenchError:  # labels as they are, for the check to refuse
        return Split(name, ids, labels, "", lambda indices: array[indices])
    return Split(name, ids, labels, split_sha(ids, labels, content), lambda indices: array[indices])


def take(split: Split, limit: int | None) -> NDArray[np.int64]:
    """The indices of ``limit`` images, ascending: a sample proportional to class. All when None.

    The first n images are a subset of the first n + 1, see :mod:`bench.data.sampling`.
    """
    if limit is None or limit >= len(split):
        return np.arange(len(split), dtype=np.int64)
    return np.sort(proportional_order(split.ids, split.labels, limit))


def measure_moments(split: Split) -> Moments:
    """Mean and deviation of 2,000 images, a sample proportional to class, to four digits as published ones are.

    Four digits also make them the same on every machine. A channel without variation gets deviation 1, so that
    dividing by it is harmless. Raises BenchError for an empty split.
    """
    if not len(split):
        raise BenchError(f"the {split.name} split has no images to measure mean and deviation on; give it some.")
    pixels = split.read(take(split, MOMENT_IMAGES))
    top = 255 if pixels.dtype == np.uint8 else 1
    mean = np.zeros(pixels.shape[1])
    square = np.zeros(pixels.shape[1])
    for image in pixels:  # one by one: as floats they might not all fit into memory
        scaled = image.astype(np.float64) / top
        mean += scaled.mean(axis=(1, 2)) / len(pixels)
        square += np.square(scaled).mean(axis=(1, 2)) / len(pixels)
    std = np.sqrt(np.maximum(square - np.square(mean), 0)).round(4)
    return Moments(tuple(mean.round(4).tolist()), tuple(np.where(std == 0, 1.0, std).tolist()))


def read_checked(split: Split, indices: NDArray[np.int64], *, dataset: str, size: int | None = None) -> Pixels:
    """Read pixels, of side ``size`` if given, and refuse what cannot be an image.

    Raises BenchError naming the first bad sample.
    """
    with as_user_errors(f"{dataset}: the {split.name} images could not be read"):
        found: Any = split.read(indices)
        if isinstance(found, np.ma.MaskedArray):
            raise BenchError(f"{dataset}: the {split.name} images are a masked array; give plain arrays.")
        pixels: Pixels = np.asarray(found)  # a tensor, too
    if len(pixels.shape) and len(pixels) != len(indices):
        raise BenchError(
            f"{dataset}: {pluralize(len(indices), f'{split.name} image')} were asked for and {len(pixels)} were read; "
            "the split needs pixels for every id."
        )
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype not in (np.uint8, np.float32):
        raise BenchError(
            f"{dataset}: {split.name} images have shape {pixels.shape} and type {pixels.dtype}; "
            "(N, C, H, W) with 1 or 3 channels is needed, as uint8 or as float32 in [0, 1]."
        )
    height, width = pixels.shape[2:]
    if size is not None and (height, width) != (size, size):
        raise BenchError(
            f"{dataset}: {split.name} images have {width}×{height} pixels, but image_size is {size}; images must be "
            "square and of that size."
        )
    if pixels.dtype == np.float32:
        bad = ~np.isfinite(pixels).all(axis=(1, 2, 3))
        if bad.any():
            raise BenchError(f"{dataset}: image {split.ids[indices[bad.argmax()]]!r} has NaN or infinite pixels.")
        low, high = pixels.min(initial=0.0), pixels.max(initial=1.0)
        if low < 0 or high > 1:
            raise BenchError(
                f"{dataset}: {split.name} pixels reach from {low:.4g} to {high:.4g} but must lie in [0, 1]; "
                "give plain images, normalisation is the model's first layer."
            )
    return pixels


def readable_images(split: Split, indices: NDArray[np.int64], data: Dataset) -> Iterator[Pixels | None]:
    """Yield the images one by one, (C, H, W); None for one that cannot be read. Images are read in chunks."""
    chunk = max(1, CHUNK_PIXELS // max(1, data.image_size**2))
    for start in range(0, len(indices), chunk):
        part = indices[start : start + chunk]
        try:
            yield from read_checked(split, part, dataset=data.name)
        except BenchError:
            if len(part) == 1:
                yield None
            else:
                for index in part:
                    yield from readable_images(split, np.array([index]), data)


@contextmanager
def as_user_errors(what: str) -> Iterator[None]:
    """Turn whatever a loader raises into a BenchError that begins with ``what``."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"{what}: {type(error).__name__}: {error}.") from error


def check_dataset(data: Dataset) -> Dataset:
    """The data set with labels as int64. Raises BenchError with the first reason why it cannot be evaluated.

    Every data set passes here before anything runs or is written, wherever it comes from. Pixels are checked when they
    are read, by :func:`read_checked`. The training split may be empty: then nothing can be trained, and how many test
    images are also training images is unknown.
    """
    check_name("data set", data.name)
    for name in ("num_classes", "image_size"):
        if not isinstance(getattr(data, name), int | np.integer):
            raise BenchError(f"{data.name}: {name} is {getattr(data, name)!r}; it must be a whole number.")
    if data.num_classes < 2:
        raise BenchError(f"{data.name}: {data.num_classes} class found; a classifier needs at least 2.")
    for name, split in (("train", data.train), ("test", data.test)):
        if not isinstance(split, Split):
            raise BenchError(
                f"{data.name}: its {name} split is of type {type(split).__name__}, not a bench.data.split.Split; "
                "array_split makes one from arrays."
            )
        _check_ids(split, data.name)
    _check_class_names(data)
    if not len(data.test):
        raise BenchError(f"{data.name}: the test split has no images.")
    train, test = (_with_labels(split, data) for split in (data.train, data.test))
    return replace(data, train=train, test=test)


def _check_class_names(data: Dataset) -> None:
    names = data.class_names
    if names and (len(names) != data.num_classes or len(set(names)) < len(names)):
        raise BenchError(
            f"{data.name}: class_names has {pluralize(len(set(names)), 'distinct name')} for "
            f"{pluralize(data.num_classes, 'class', 'classes')}; give one name per class, or leave it empty."
        )


def _check_ids(split: Split, dataset: str) -> None:
    """Ids are hashed as UTF-8 and stored as text: a number would come back as another id."""
    for sample_id in split.ids:
        if not isinstance(sample_id, str) or ODD_ID.search(sample_id):
            raise BenchError(
                f"{dataset}: {split.name} image {sample_id!r} is not named by a line of text; ids are strings, without "
                "line breaks and in UTF-8."
            )
        if not sample_id or changed_by_readers(sample_id):
            why = changed_by_readers(sample_id) or "it is empty"
            raise BenchError(
                f"{dataset}: {split.name} image {sample_id!r} needs another id: {why}; call it "
                f"{f'{split.name}/{sample_id}'!r}."
            )
    if len(set(split.ids)) < len(split):
        raise BenchError(f"{dataset}: two {split.name} images share an id; ids name images and must be unique.")


def _with_labels(split: Split, data: Dataset) -> Split:
    """The split with labels as int64 in 0…K−1."""
    labels = integer_labels(split.labels, split.ids, where=f"{data.name}: {split.name}")
    bad = (labels < 0) | (labels >= data.num_classes)
    if bad.any():
        first = int(bad.argmax())
        raise BenchError(
            f"{data.name}: image {split.ids[first]!r} has label {labels[first]}, outside 0…{data.num_classes - 1}."
        )
    return replace(split, labels=labels)
