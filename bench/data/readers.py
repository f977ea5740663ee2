"""Read images and labels in chunks and in a fixed order from arrays, DataLoaders, torch or Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
    default_convert,
)
from torch.utils.data.sampler import BatchSampler

from bench.core.errors import BenchError

CHUNK = 64  # number of images per read; the first chunk is read twice, to detect random augmentation
IMAGE_KEYS = ("pixel_values", "image", "img")  # transforms store their output under the first key
LABEL_KEYS = ("label", "labels", "fine_label")


class Chunk(NamedTuple):
    """Some images and one label per image."""

    images: Sequence[Any]
    labels: list[Any]


def chunks_of(source: Any, where: str) -> Iterator[Chunk]:
    """Iterate over ``source`` from its start. ``where`` names data set and split in messages.

    A ``DataLoader`` over a map-style data set yields the images in the data set's order. Its ``collate_fn`` is applied
    unless it is the default one. Raises BenchError for any other kind of source.
    """
    if isinstance(source, DataLoader):
        return _of_loader(source, where)
    if _is_pair(source):
        return _of_arrays(source[0], source[1], where)
    if _is_map_style(source):
        return _of_items(source, where)
    if hasattr(source, "__iter__") and not _is_array(source) and not isinstance(source, str | bytes | Mapping):
        return _of_iterable(source, where, batched=False)
    raise _unknown(source, where)


def length_of(source: Any) -> int | None:
    """Return the number of images if it is known before they are read, otherwise None."""
    if isinstance(source, DataLoader):
        return length_of(source.dataset)
    if _is_pair(source):
        return len(source[1]) if hasattr(source[1], "__len__") else None
    return len(source) if _is_map_style(source) else None


def _is_pair(source: Any) -> bool:
    """Return whether this is a pair (images, labels) and not a list of two items (image, label)."""
    return isinstance(source, tuple | list) and len(source) == 2 and not isinstance(source[0], tuple | Mapping)


def _is_array(source: Any) -> bool:
    return hasattr(source, "shape") and hasattr(source, "dtype")


def _is_map_style(source: Any) -> bool:
    if _is_array(source) or isinstance(source, str | bytes | Mapping):
        return False
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


def _unknown(source: Any, where: str) -> BenchError:
    name = type(source).__name__
    if _is_array(source):
        return BenchError(f"{where} images are a {name} without labels; give a tuple (images, labels).")
    if hasattr(source, "__getitem__") and not isinstance(source, str | bytes | Mapping):
        return BenchError(f"{where} images are a {name} without a length; define its __len__.")
    return BenchError(
        f"{where} images: the data set is of type {name}; give the name of a data set ('bench list datasets'), a tuple "
        "(images, labels), a DataLoader, or a torch or Hugging Face data set."
    )


def _of_loader(loader: DataLoader[Any], where: str) -> Iterator[Chunk]:
    data = loader.dataset
    if not _is_map_style(data):
        return _of_iterable(loader, where, batched=loader.batch_sampler is not None)
    batches = loader.batch_sampler
    sampler = loader.sampler if batches is None else batches
    if type(batches) is BatchSampler:
        sampler = batches.sampler
    if type(sampler) is SubsetRandomSampler:  # a subclass may draw anything
        data = Subset(data, list(sampler.indices))
    elif not _draws_every_image_once(sampler, len(data)):  # type: ignore[arg-type]
        raise BenchError(
            f"{where} images: the DataLoader draws them with a {type(sampler).__name__}; give its data set, "
            "loader.dataset, or a torch.utils.data.Subset of it."
        )
    if loader.collate_fn in (default_collate, default_convert):
        return _of_items(data, where)
    return _of_collated(data, loader, where)


def _draws_every_image_once(sampler: Any, total: int) -> bool:
    """Return whether a sampler of PyTorch draws every one of ``total`` images exactly once, in any order."""
    if type(sampler) is SequentialSampler:
        return len(sampler) == total
    return type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == total


def _of_arrays(images: Any, labels: Any, where: str) -> Iterator[Chunk]:
    if not hasattr(images, "__len__") or not hasattr(images, "__getitem__") or getattr(images, "ndim", 4) < 3:
        raise BenchError(
            f"{where} images are of type {type(images).__name__}; a tuple or list of two entries must be (images, "
            "labels), with images of shape (N, C, H, W), (N, H, W, C) or (N, H, W)."
        )
    chunk = _batch(images, _plain(labels), where)
    for start in range(0, len(images), CHUNK):
        yield Chunk(images[start : start + CHUNK], chunk.labels[start : start + CHUNK])


def _of_items(data: Any, where: str) -> Iterator[Chunk]:
    for start in range(0, len(data), CHUNK):
        entries = [_entries(data[i], where) for i in range(start, min(start + CHUNK, len(data)))]
        yield Chunk([image for image, _ in entries], [_plain(label) for _, label in entries])


def _of_collated(data: Any, loader: DataLoader[Any], where: str) -> Iterator[Chunk]:
    """Call the loader's ``collate_fn`` on the items in the data set's order."""
    if loader.batch_sampler is None:
        for i in range(len(data)):
            yield _chunk(loader.collate_fn(data[i]), where, batched=False)
    else:
        size = loader.batch_size or CHUNK
        for start in range(0, len(data), size):
            items = [data[i] for i in range(start, min(start + size, len(data)))]
            yield _chunk(loader.collate_fn(items), where, batched=True)


def _of_iterable(source: Any, where: str, *, batched: bool) -> Iterator[Chunk]:
    for entry in source:
        yield _chunk(entry, where, batched=batched)


def _chunk(entry: Any, where: str, *, batched: bool) -> Chunk:
    """Convert one entry to a chunk of one item or a batch. An entry whose images have four axes is always a batch."""
    images, labels = _entries(entry, where)
    labels = _plain(labels)
    if not batched and getattr(images, "ndim", 3) != 4:
        return Chunk([images], [labels])
    return _batch(images, labels, where)


def _batch(images: Any, labels: Any, where: str) -> Chunk:
    if not isinstance(labels, list | tuple):
        raise BenchError(f"{where} labels are of type {type(labels).__name__}; give a list, an array or a tensor.")
    if len(labels) != len(images):
        raise BenchError(f"{where} labels are {len(labels)} for {len(images)} images; one label per image is needed.")
    return Chunk(images, list(labels))


def _entries(item: Any, where: str) -> tuple[Any, Any]:
    """Return image and label of an item, or images and labels of a batch."""
    if isinstance(item, Mapping):
        image, label = (next((k for k in keys if k in item), None) for keys in (IMAGE_KEYS, LABEL_KEYS))
        if image is None or label is None:
            raise BenchError(
                f"{where} items have the keys {', '.join(map(str, item))}; an image ({', '.join(IMAGE_KEYS)}) and a "
                f"label ({', '.join(LABEL_KEYS)}) are needed: rename the columns."
            )
        return item[image], item[label]
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    description = f"{len(item)} entries" if isinstance(item, tuple | list) else f"the type {type(item).__name__}"
    raise BenchError(f"{where} items have {description}; (image, label) is needed, or a dictionary with these.")


def _plain(label: Any) -> Any:
    """Return a label, or the labels of a batch, as Python numbers."""
    if hasattr(label, "detach"):
        label = label.detach().cpu()
    return label.tolist() if hasattr(label, "tolist") else label
