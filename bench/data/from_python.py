"""Make a data set from tensors, a DataLoader, a torch data set or a Hugging Face data set.

>>> import torch
>>> data = as_dataset((torch.zeros(4, 3, 8, 8), [0, 1, 2, 1]))
>>> len(data.test), data.num_classes, data.image_size
(4, 3, 8)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset

from bench.core.errors import BenchError
from bench.core.words import join
from bench.data.labels import integer_labels
from bench.data.pixels import as_floats, stack_images
from bench.data.readers import LABEL_KEYS, Chunk, chunks_of, length_of
from bench.data.split import Dataset, Split, array_split, as_user_errors, check_dataset

TEST_SPLITS = ("test", "validation")


def as_dataset(source: Any, *, name: str = "own", num_classes: int | None = None, train: Any = None) -> Dataset:
    """Read ``source`` once and return it as the test split of a data set.

    Args:
        source: A tuple ``(images, labels)`` of arrays or tensors; a map-style data set of torch, torchvision or Hugging
            Face whose items are ``(image, label)`` or dictionaries; a ``DataLoader``, whose data set is read in order,
            without shuffling; an iterable data set; or a mapping of splits such as ``DatasetDict``. From a mapping, the
            split "test" is evaluated, or "validation" if "test" is missing, and "train" is the default of ``train``.
            Images are PIL images, uint8 or floats in [0, 1], all square and of one size.
        name: The data set's name in every row.
        num_classes: The number of classes. By default, this is the number of class names that ``source`` declares. If
            it declares none, the default is the largest label + 1.
        train: The training images, in any form accepted for ``source``. They are used only to count the test images
            that are also training images. Without them the count is empty.

    The images are kept in memory: one byte per value if all values are multiples of 1/255, otherwise four. Sample ids
    are ``test/<index>``, see :func:`bench.data.split.array_split`. Raises BenchError if the source cannot be evaluated.
    """
    if isinstance(source, Mapping):
        source, train = _test_of(source, name), source.get("train") if train is None else train
    test_split = _read_split("test", source, name)
    size = _side(test_split)
    if train is None:
        train_split = array_split("train", np.zeros((0, 3, size, size), np.uint8), np.zeros(0, np.int64))
    else:
        train_split = _read_split("train", train, name)
        if _side(train_split) != size:
            raise BenchError(
                f"{name}: training images have a side of {_side(train_split)} pixels and test images of {size}; apply "
                "the same Resize and CenterCrop to both."
            )
    notes: tuple[str, ...] = ()
    names = tuple(_class_names(source) or _class_names(train))
    if num_classes is None:
        num_classes = len(names) or None
    if num_classes is None:
        num_classes = 1 + max(int(split.labels.max(initial=0)) for split in (test_split, train_split))
        notes = (f"{num_classes} classes, by the largest label; as_dataset(…, num_classes=…) sets another number",)
    names = names if len(names) == num_classes else ()
    data = Dataset(name, train_split, test_split, num_classes, size, official=False, notes=notes, class_names=names)
    return check_dataset(data)


def _test_of(source: Mapping[str, Any], name: str) -> Any:
    """Return the split "test", or "validation" if "test" is missing. Raises BenchError if both are missing."""
    for split in TEST_SPLITS:
        if split in source:
            return source[split]
    available = join([repr(key) for key in source]) if source else "none"
    raise BenchError(
        f"{name}: the split 'test' or 'validation' is needed, and the source has {available}; pass the split to "
        "evaluate itself, such as source['…']."
    )


def _read_split(split: str, source: Any, name: str) -> Split:
    """Read all images and labels. Raises BenchError for invalid data, and if two reads of the first chunk differ."""
    where = f"{name}: {split}"
    all_labels: list[Any] = []

    def images(chunks: Iterator[Chunk]) -> Iterator[Sequence[Any]]:
        for chunk in chunks:
            all_labels.extend(chunk.labels)
            yield chunk.images

    with as_user_errors(f"{where} images could not be read"):
        pixels = stack_images(images(chunks_of(source, where)), where, total=length_of(source))
        labels = integer_labels(all_labels, [f"{split}/{i:05d}" for i in range(len(pixels))], where=where)
        for chunk in islice(chunks_of(source, where), 1):  # an exhausted iterator yields none
            n = len(chunk.images)
            second_read = stack_images([chunk.images], where, total=n)
            if not np.array_equal(as_floats(second_read), as_floats(pixels[:n])) or chunk.labels != labels[:n].tolist():
                raise BenchError(
                    f"{where} images differ between two reads; remove random augmentation (RandomCrop, "
                    "RandomHorizontalFlip, …) from the transform, and shuffling from an iterable data set."
                )
    return array_split(split, pixels, labels, copy=False)


def _side(split: Split) -> int:
    return int(split.read(np.arange(1)).shape[-1])


def _class_names(source: Any) -> Sequence[str]:
    """Return the declared class names of a data set, DataLoader or Subset; empty if no names are declared."""
    if isinstance(source, ConcatDataset):
        return _class_names(source.datasets[0])
    names: Any = getattr(source, "classes", None)  # torchvision
    features = getattr(source, "features", None)  # Hugging Face
    if isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)
    if isinstance(names, list | tuple):
        return names
    wrapped = getattr(source, "dataset", None)  # DataLoader, Subset
    return () if wrapped is None else _class_names(wrapped)
