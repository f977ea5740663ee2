"""Data sets and their splits. Ids, labels and a content hash are in memory, pixels are read on demand."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.limits import MAX_CLASSES
from bench.core.names import changed_by_readers, check_name, text_part
from bench.core.specs import Fitting
from bench.core.words import pluralize
from bench.data.labels import integer_labels
from bench.data.sampling import proportional_order
from bench.runtime.foreign_code import foreign_code

#: Number of training images for computing mean and standard deviation if no values are published.
MOMENT_IMAGES = 2000

CHUNK_PIXELS = 2**22  # number of pixels, all channels of which are read at a time

#: Line breaks, and the surrogates to which Python decodes file names that are not UTF-8.
ODD_ID = re.compile("[\r\n\ud800-\udfff]")

#: Stored images: (N, C, H, W) with C = 1 or 3; uint8 in 0…255 or float32 in [0, 1].
Pixels = NDArray[np.uint8] | NDArray[np.float32]


class Files(NamedTuple):
    """Digests and size of the image files of a split."""

    digests: Sequence[bytes]  # one per image
    n_bytes: int  # total size of all files


@dataclass(frozen=True)
class Split:
    """One split of a data set, with pixels read on demand.

    ``sha`` is a hash of ids, labels and content of the whole split: splits with equal hashes have the same images,
    labels and ids. ``read`` takes indices (M,) and returns the pixels (M, C, H, W) of these images.
    :func:`check_dataset` converts labels of other integer types to int64 and refuses all other types.
    """

    name: str  # "train" or "test"
    ids: Sequence[str]
    labels: NDArray[np.int64]  # (N,), in 0…K−1
    sha: str
    read: Callable[[NDArray[np.int64]], Pixels]
    files: Files | None = None  # None: the images are in memory or fast to read

    def __len__(self) -> int:
        return len(self.ids)


class Moments(NamedTuple):
    """Mean and standard deviation per channel of the training images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set with a training and a test split, ready to be read."""

    name: str
    train: Split
    test: Split
    num_classes: int
    image_size: int  # side of the square images that are attacked
    fitting: Fitting | None = field(default=None, kw_only=True)  # resize and crop on reading; None: read unchanged
    official: bool  # true if the files have the published checksums
    published: Moments | None = None  # None: computed at the first access, because only training needs them
    notes: tuple[str, ...] = ()  # notes on the data for every row, such as the number of files left out
    class_names: tuple[str, ...] = ()  # names in the order of the labels; empty: unknown

    @cached_property
    def moments(self) -> Moments:
        """Published mean and standard deviation. Without published values, the result of :func:`measure_moments`."""
        return self.published or measure_moments(self.train)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean per channel of the training images in [0, 1]."""
        return self.moments.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation per channel of the training images in [0, 1]."""
        return self.moments.std


def split_sha(ids: Sequence[str], labels: NDArray[np.int64], content: bytes) -> str:
    """Compute the hash of a split from its ids, its labels (N,) and a digest of its pixels."""
    digest = hashlib.sha256()
    digest.update("\n".join(ids).encode())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    digest.update(content)
    return text_part(digest.hexdigest(), 16)


def array_split(name: str, pixels: Any, labels: Any, *, copy: bool = True) -> Split:
    """Make a split of images (N, C, H, W) and integer labels (N,) in memory.

    Both may be arrays or tensors, and labels may be a list. Ids are ``<name>/<index in the given order>``. The images
    are copied, so that later changes of the source do not change the split. Set ``copy=False`` for an array that is not
    used anywhere else. Raises BenchError for images that are not a plain array. Invalid labels are refused by
    :func:`check_dataset`.
    """
    if isinstance(pixels, np.ma.MaskedArray):
        raise BenchError(f"the {name} images are a masked array; give plain arrays.")
    with as_user_errors(f"the {name} images are not a plain array"):
        array: Pixels = np.asarray(pixels).copy() if copy else np.asarray(pixels)
    ids = [f"{name}/{i:05d}" for i in range(len(array))]
    content = hashlib.sha256(np.ascontiguousarray(array).data).digest()
    try:
        labels = integer_labels(labels, ids, where=name)
    except BenchError:  # check_dataset will refuse the labels
        return Split(name, ids, labels, "", lambda indices: array[indices])
    return Split(name, ids, labels, split_sha(ids, labels, content), lambda indices: array[indices])


def take(split: Split, limit: int | None) -> NDArray[np.int64]:
    """Return the indices of ``limit`` images (all if None), sampled proportionally to class, in ascending order.

    The sample of n images is a subset of the sample of n + 1 images, see :mod:`bench.data.sampling`.
    """
    if limit is None or limit >= len(split):
        return np.arange(len(split), dtype=np.int64)
    return np.sort(proportional_order(split.ids, split.labels, limit))


def measure_moments(split: Split) -> Moments:
    """Compute mean and standard deviation per channel of MOMENT_IMAGES images, sampled proportionally to class.

    Both are rounded to four digits, as published values are. Rounding also makes the values equal on all machines. The
    standard deviation of a constant channel is set to 1 to avoid a division by zero. Raises BenchError for an empty
    split.
    """
    if not len(split):
        raise BenchError(f"the {split.name} split has no images for computing mean and standard deviation; add some.")
    indices = take(split, MOMENT_IMAGES)
    mean, square = np.zeros(1), np.zeros(1)
    for image in _read_in_chunks(split, indices):  # one by one, because all images in float64 may not fit into memory
        scaled = image.astype(np.float64) / (255 if image.dtype == np.uint8 else 1)
        mean = mean + scaled.mean(axis=(1, 2)) / len(indices)
        square = square + np.square(scaled).mean(axis=(1, 2)) / len(indices)
    std = np.sqrt(np.maximum(square - np.square(mean), 0)).round(4)
    return Moments(tuple(mean.round(4).tolist()), tuple(np.where(std == 0, 1.0, std).tolist()))


def _read_in_chunks(split: Split, indices: NDArray[np.int64]) -> Iterator[Pixels]:
    """Yield the images at ``indices`` one by one, (C, H, W). CHUNK_PIXELS pixels are read at a time."""
    start, step = 0, 1  # the size of the images is known after the first one
    while start < len(indices):
        pixels = split.read(indices[start : start + step])
        yield from pixels
        start, step = start + step, max(1, CHUNK_PIXELS // max(1, math.prod(pixels.shape[2:])))


def read_checked(split: Split, indices: NDArray[np.int64], *, dataset: str, size: int | None = None) -> Pixels:
    """Read the pixels (M, C, H, W) at ``indices`` (M,). Check number, shape, type and range.

    ``size`` is the required side, if given. Raises BenchError for invalid pixels.
    """
    with as_user_errors(f"{dataset}: the {split.name} images could not be read"):
        images: Any = split.read(indices)
        if isinstance(images, np.ma.MaskedArray):
            raise BenchError(f"{dataset}: the {split.name} images are a masked array; give plain arrays.")
        pixels: Pixels = np.asarray(images)  # ``images`` may be a tensor
    if len(pixels.shape) and len(pixels) != len(indices):
        raise BenchError(
            f"{dataset}: {pluralize(len(indices), f'{split.name} image')} were requested, but {len(pixels)} were read; "
            "read must return one image per index."
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
            "square and of this size."
        )
    if pixels.dtype == np.float32:
        invalid = ~np.isfinite(pixels).all(axis=(1, 2, 3))
        if invalid.any():
            first = split.ids[indices[invalid.argmax()]]
            raise BenchError(f"{dataset}: image {first!r} has NaN or infinite pixels; repair or remove it.")
        low, high = pixels.min(initial=0.0), pixels.max(initial=1.0)
        if low < 0 or high > 1:
            raise BenchError(
                f"{dataset}: {split.name} pixels range from {low:.4g} to {high:.4g} but must lie in [0, 1]; "
                "give images without normalisation, which is the model's first layer."
            )
    return pixels


def readable_images(split: Split, indices: NDArray[np.int64], data: Dataset) -> Iterator[Pixels | None]:
    """Yield the images at ``indices`` one by one, (C, H, W), or None if unreadable. Images are read in chunks."""
    for part in chunks(indices, data):
        try:
            yield from read_checked(split, part, dataset=data.name)
        except BenchError:
            if len(part) == 1:
                yield None
            else:
                for index in part:
                    yield from readable_images(split, np.array([index]), data)


def chunks(indices: NDArray[np.int64], data: Dataset, *, least: int = 1) -> Iterator[NDArray[np.int64]]:
    """Split ``indices`` into parts of CHUNK_PIXELS pixels, and of at least ``least`` images."""
    step = max(least, CHUNK_PIXELS // max(1, data.image_size**2))
    return (indices[start : start + step] for start in range(0, len(indices), step))


@contextmanager
def as_user_errors(prefix: str) -> Iterator[None]:
    """Convert any exception to a BenchError whose message begins with ``prefix``."""
    try:
        with foreign_code():
            yield
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"{prefix}: {type(error).__name__}: {error}.") from error


def check_dataset(data: Dataset) -> Dataset:
    """Check a data set and return it with labels as int64.

    Every data set is checked by this function before it is used. Pixels are checked later, by :func:`read_checked`. The
    training split may be empty. In this case no model can be trained, and test images that are also training images
    are not counted. Raises BenchError with the first reason why the data set cannot be evaluated.
    """
    check_name("data set", data.name)
    for name in ("num_classes", "image_size"):
        if not isinstance(getattr(data, name), int | np.integer):
            raise BenchError(f"{data.name}: {name} is {getattr(data, name)!r}; it must be an integer.")
    if data.num_classes < 2:
        raise BenchError(f"{data.name}: {data.num_classes} class found; a classifier needs at least 2.")
    if data.num_classes > MAX_CLASSES:
        raise BenchError(
            f"{data.name}: {data.num_classes:,} classes; at most {MAX_CLASSES:,} can be counted. Labels must be class "
            "indices from 0; renumber them, for example by np.unique(labels, return_inverse=True)."
        )
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
    """Raise BenchError unless ids are unique strings that CSV readers return unchanged."""
    for sample_id in split.ids:
        if not isinstance(sample_id, str) or ODD_ID.search(sample_id):
            raise BenchError(
                f"{dataset}: {split.name} image has the id {sample_id!r}; ids must be strings in UTF-8 without line "
                "breaks."
            )
        if not sample_id or changed_by_readers(sample_id):
            reason = changed_by_readers(sample_id) or "it is empty"
            raise BenchError(
                f"{dataset}: {split.name} image {sample_id!r} needs another id: {reason}; call it "
                f"{f'{split.name}/{sample_id}'!r}."
            )
    if len(set(split.ids)) < len(split):
        raise BenchError(f"{dataset}: two {split.name} images have the same id; ids must be unique.")


def _with_labels(split: Split, data: Dataset) -> Split:
    """Return the split with labels as int64. Raises BenchError for labels outside 0…K−1."""
    labels = integer_labels(split.labels, split.ids, where=f"{data.name}: {split.name}")
    invalid = (labels < 0) | (labels >= data.num_classes)
    if invalid.any():
        first = int(invalid.argmax())
        raise BenchError(
            f"{data.name}: image {split.ids[first]!r} has label {labels[first]}, outside 0…{data.num_classes - 1}; "
            "correct the label or num_classes."
        )
    return replace(split, labels=labels)
