"""Check the pixels of a data set before use: reads must be repeatable, and images must use the full range [0, 1]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.split import Dataset, Pixels, Split, chunks, read_checked, readable_images, take

#: Maximum number of evenly spaced images that are read twice. One image per class is also read twice, for at most this
#: number of classes.
REPEATED_IMAGES = 128

#: Number of evenly spaced images for which the largest pixel is computed first. If they are dark, more images are read,
#: at most DARK_IMAGES.
RANGE_IMAGES = 32
DARK_IMAGES = 2000

#: A split whose largest pixel is at most this value gets a note. Examples: 4 to 6 bits stored as 8, 8 to 14 bits as 16.
DARK = 64 / 255

#: A test split whose largest pixel is at most this value is refused. Examples: masks of 0 and 1, images divided by 255
#: twice.
TOO_DARK = 1 / 128

IN_THESE_UNITS = "images must fill [0, 1], since ε is in these units"


def check_repeatable(data: Dataset) -> None:
    """Raise BenchError if two reads of the same test images differ, for example by random augmentation.

    The images are spread over the split and its classes. They are read in chunks, and the second read of a chunk is
    done in two halves. This also detects a reader that ignores the indices, or a result that depends on the position of
    an image in the batch.
    """
    split = data.test
    chosen = np.union1d(_evenly(len(split), REPEATED_IMAGES), _one_per_class(split))
    for part in chunks(chosen, data, least=4):
        pixels = read_checked(split, part, dataset=data.name)
        for half in (np.arange(0, len(part), 2), np.arange(1, len(part), 2)):
            if len(half) and not np.array_equal(pixels[half], read_checked(split, part[half], dataset=data.name)):
                raise BenchError(
                    f"{data.name}: two reads of the same test images differ; read must return the images of the given "
                    "indices, without random augmentation."
                )


def check_range(data: Dataset) -> Dataset:
    """Return the data set with a note on each split whose largest pixel is at most DARK, a quarter of the full range.

    Raises BenchError if the largest pixel of the test images is at most TOO_DARK.
    """
    notes = [note for split in (data.train, data.test) if (note := _range_note(split, data))]
    return replace(data, notes=tuple(dict.fromkeys((*data.notes, *notes))))


def _range_note(split: Split, data: Dataset) -> str | None:
    """Return the note on a dark split; None for other splits. Raises BenchError for a test split that is almost black.

    An almost black training split is allowed, because an evaluation does not need it.
    """
    brightest = _brightest(split, _evenly(len(split), RANGE_IMAGES), data)
    if brightest is not None and _top(brightest) <= DARK:
        brightest = _brightest(split, take(split, DARK_IMAGES), data)
    if brightest is None or _top(brightest) > DARK:
        return None
    top = brightest.max(initial=0).item()
    scope = f"{DARK_IMAGES} of the" if len(split) > DARK_IMAGES else "the"
    kind = "test" if split is data.test else "training"
    value = f"{top} of 255" if brightest.dtype == np.uint8 else f"{top:.2g}"
    statement = f"the largest pixel of {scope} {kind} images is {value}"
    if _top(brightest) <= TOO_DARK and split is data.test:
        raise BenchError(f"{data.name}: {statement}, but {IN_THESE_UNITS}; {_how_to_fix(brightest)}.")
    return f"{statement}: {IN_THESE_UNITS}"


def _how_to_fix(brightest: Pixels) -> str:
    if not brightest.any():
        return "check how the images are read"
    is_8bit = brightest.dtype == np.uint8
    return "multiply the images by 255" if is_8bit else "multiply the images, by 255 if they were divided by it twice"


def _brightest(split: Split, indices: NDArray[np.int64], data: Dataset) -> Pixels | None:
    """Return the first image that is not dark, otherwise the image with the largest pixel; None without readable image.

    Unreadable images are skipped. They raise an error later if they are evaluated.
    """
    brightest: Pixels | None = None
    for image in readable_images(split, indices, data):
        if image is not None and (brightest is None or _top(image) > _top(brightest)):
            brightest = image
        if brightest is not None and _top(brightest) > DARK:
            break
    return brightest


def _top(image: Pixels) -> float:
    """Return the largest pixel as a share of the full range."""
    return float(image.max(initial=0)) / (255 if image.dtype == np.uint8 else 1)


def _evenly(total: int, count: int) -> NDArray[np.int64]:
    """Return up to ``count`` evenly spaced indices, including the first and the last.

    >>> _evenly(10, 4).tolist(), _evenly(2, 4).tolist()
    ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))


def _one_per_class(split: Split) -> NDArray[np.int64]:
    """Return the index of the first image of each class, for up to REPEATED_IMAGES evenly spaced classes."""
    first = np.unique(split.labels, return_index=True)[1].astype(np.int64)
    return first[_evenly(len(first), REPEATED_IMAGES)]
