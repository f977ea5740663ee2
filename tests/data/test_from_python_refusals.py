"""Python objects that cannot be evaluated are refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from python_sources import (
    COUNT,
    DRAWS,
    FLOATS,
    LABELS,
    PIXELS,
    HuggingFace,
    Items,
    Linear,
    Stream,
    item,
)
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.data.from_python import as_dataset


class Noisy(Items):
    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        noise = torch.Generator().manual_seed(0)
        super().__init__(
            lambda i: (change(FLOATS[i]) if torch.rand((), generator=noise) < 0.5 else FLOATS[i], LABELS[i])
        )


class Backwards(SequentialSampler):
    """A subclass that draws something else."""

    def __iter__(self) -> Iterator[int]:
        return iter([0] * len(self))


def bad_item(index: int, image: Any) -> Items:
    return Items(lambda i: (image if i == index else FLOATS[i], LABELS[i]))


def square(channels: int, side: int = 8) -> Tensor:
    return torch.zeros(channels, side, side)


def broken(index: int) -> Any:
    raise OSError("disk full")


BAD: dict[str, tuple[Any, str]] = {
    "other size": (
        bad_item(70, square(1, 9)),
        "own: test image 70 has 9×9 pixels, but the images before it have 8×8; .*Resize",
    ),
    "not square": (bad_item(0, torch.zeros(1, 8, 9)), "own: test image 0 has 9×8 pixels; .*CenterCrop"),
    "not square, HWC": ((np.zeros((2, 8, 9, 3), np.uint8), [0, 1]), "own: test image 0 has 9×8 pixels"),
    "four channels": (
        (torch.zeros(2, 4, 8, 8), [0, 1]),
        r"image 0 has shape \(4, 8, 8\); 1 or 3 channels.*convert\('RGB'\)",
    ),
    "two channels": ((torch.zeros(2, 8, 8, 2), [0, 1]), r"image 0 has shape \(8, 8, 2\); 1 or 3 channels"),
    "grey among colours": (
        bad_item(3, square(3)),
        r"image 3 has 3 channels, but the images before it have 1.*convert\('RGB'\)",
    ),
    "PIL RGBA": (bad_item(0, Image.new("RGBA", (8, 8))), r"test image 0 has PIL mode 'RGBA'.*convert\('RGB'\)"),
    "PIL palette": (bad_item(2, Image.new("P", (8, 8))), "test image 2 has PIL mode 'P'"),
    "normalised": (
        bad_item(5, (square(1) - 0.5) / 0.5),
        "own: test image 5 has values from -1 to 0.*remove Normalize.*normalize=…",
    ),
    "normalised above": (bad_item(5, square(1) + 2.5), "values from 0 to 2.5.*remove Normalize"),
    "0 to 255 as floats": ((torch.tensor(PIXELS).float(), LABELS), "values from 0 to 255.*divide them by 255"),
    "NaN": (bad_item(66, square(1) * torch.nan), "own: test image 66 has NaN or infinite pixels"),
    "int64": ((torch.tensor(PIXELS).long(), LABELS), r"pixels of type int64; .*astype\('uint8'\)"),
    "booleans": ((PIXELS > 9, LABELS), "pixels of type bool"),
    "flat": ((FLOATS.flatten(1), LABELS), "images are of type Tensor.*with images"),
    "flat items": (bad_item(0, torch.zeros(64)), r"test image 0 has shape \(64,\)"),
    "no image": (bad_item(1, "a.png"), "own: test image 1 is of type str; give a PIL image, a tensor or an array"),
    "masked": (bad_item(1, np.ma.masked_array(PIXELS[1], PIXELS[1] > 3)), "test image 1 is a masked array"),
    "float labels": (
        (FLOATS, torch.tensor(LABELS).float()),
        "own: test labels are of type float64, image 'test/00000'",
    ),
    "text labels": (Items(lambda i: (FLOATS[i], "cat")), "image 'test/00000' has label cat; class indices must be"),
    "no label": (Items(lambda i: (FLOATS[i], None)), "image 'test/00000' has label None"),
    "one-hot labels": ((FLOATS, np.eye(10)[LABELS]), r"labels have shape \(80, 10\).*labels.argmax\(1\)"),
    "a column of labels": (Items(lambda i: (FLOATS[i], LABELS[i : i + 1])), r"shape \(80, 1\).*labels.reshape\(-1\)"),
    "ignore index": ((FLOATS, np.where(LABELS > 8, -1, LABELS)), "own: image 'test/.*' has label -1, outside 0…8"),
    "fewer labels": ((FLOATS, LABELS[:-1]), "own: test labels are 79 for 80 images"),
    "a set of labels": ((FLOATS, set(LABELS.tolist())), "own: test labels are of type set"),
    "labels that are no indices": ((FLOATS, LABELS + 10**12), "1,000,000,000,0.. classes; at most .* renumber them"),
    "one class": ((FLOATS, LABELS * 0), "own: 1 class found; a classifier needs at least 2"),
    "empty tensors": ((FLOATS[:0], LABELS[:0]), "own: test images: the source is empty"),
    "empty data set": (Items(item, 0), "own: test images: the source is empty"),
    "empty stream": (iter(()), "own: test images: the source is empty"),
    "empty loader": (DataLoader(Items(item, 0)), "own: test images: the source is empty"),
    "empty mapping": ({}, "own: the split 'test' or 'validation' is needed, and the source has none"),
    "training split only": (
        {"train": HuggingFace()},
        r"is needed, and the source has 'train'; pass the split .* source\['…'\]",
    ),
    "random flip": (Noisy(lambda image: image.flip(-1)), "own: test images differ between two reads; remove random"),
    "random flip in a loader": (DataLoader(Noisy(lambda x: x.flip(-1)), 16), "differ between two reads"),
    "random noise": (Noisy(lambda image: image * 0.99), "differ between two reads"),
    "random size": (Noisy(lambda image: image[:, :7, :7]), "image . has .×. pixels, but the images before it have"),
    "shuffled stream": (
        Stream(lambda i: item(int(DRAWS.integers(COUNT)))),
        "differ between two reads",
    ),
    "changing labels": (
        Items(lambda i: (FLOATS[i], int(DRAWS.integers(10)))),
        "differ between two reads",
    ),
    "weighted sampler": (
        DataLoader(Items(item), sampler=WeightedRandomSampler([1.0] * COUNT, COUNT)),
        "the DataLoader draws them with a WeightedRandomSampler; give its data set, loader.dataset",
    ),
    "sampler with replacement": (
        DataLoader(Items(item), sampler=RandomSampler(Items(item), replacement=True)),
        "draws them with a RandomSampler",
    ),
    "sampler of a part": (
        DataLoader(Items(item), sampler=RandomSampler(Items(item), num_samples=9)),
        "a RandomSampler",
    ),
    "sequential sampler of a part": (
        DataLoader(Items(item), sampler=SequentialSampler(range(9))),
        "a SequentialSampler; give its data set",
    ),
    "subclass of a sampler": (
        DataLoader(Items(item), sampler=Backwards(Items(item))),
        "a Backwards; give its data set",
    ),
    "own batches": (DataLoader(Items(item), batch_sampler=[[0, 1], [2]]), "draws them with a list"),
    "three entries": (Items(lambda i: (*item(i), i)), r"own: test items have 3 entries; \(image, label\) is needed"),
    "image only": (Items(lambda i: FLOATS[i]), "own: test items have the type Tensor"),
    "other keys": (Items(lambda i: {"photo": 1, "label": 0}), "items have the keys photo, label; .*rename the columns"),
    "batch with other labels": (
        DataLoader(Items(item), 16, collate_fn=lambda items: (FLOATS[:16], LABELS[:3])),
        "own: test labels are 3 for 16 images",
    ),
    "images only": (FLOATS, r"own: test images are a Tensor without labels; give a tuple \(images, labels\)"),
    "text": ("digits", "own: test images: the data set is of type str; give the name of a data set"),
    "nothing": (None, "the data set is of type NoneType"),
    "no length": (type("Endless", (), {"__getitem__": item})(), "are a Endless without a length; define its __len__"),
    "broken": (Items(broken), "own: test images could not be read: OSError: disk full"),
}


@pytest.mark.parametrize(("source", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence) as caught:
        as_dataset(source)
    assert str(caught.value).startswith("own: ")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_bad_training_images_are_named_as_such() -> None:
    with pytest.raises(BenchError, match="own: train images differ between two reads"):
        as_dataset((FLOATS, LABELS), train=Noisy(lambda image: image.flip(-1)))
    with pytest.raises(BenchError, match=r"training images have a side of 9 pixels and test images of 8; .*Resize"):
        as_dataset((FLOATS, LABELS), train=(torch.zeros(2, 1, 9, 9), [0, 1]))


def test_evaluate_tells_the_sentence_and_stores_nothing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="remove Normalize"):
        evaluate(Linear(), name="x", dataset=(FLOATS * 2 - 1, LABELS), attacks="fgsm", eps="0.1", results=tmp_path)
    assert not list(tmp_path.rglob("*.json"))
