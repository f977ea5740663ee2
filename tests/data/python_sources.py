"""Eighty digits in the forms that people have images in: tensors, PIL images, torch and Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import (
    IterableDataset,
    default_collate,
)

from bench.data import DataRequest, load_dataset

COUNT = 80  # more than one chunk
TRAIN = 40


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 80 images (N, 1, 8, 8), uint8, and their labels."""
    data = load_dataset("digits", DataRequest())
    pixels = data.test.read(np.arange(COUNT))
    return (pixels if pixels.dtype == np.uint8 else np.rint(pixels * 255).astype(np.uint8)), data.test.labels[:COUNT]


PIXELS, LABELS = digits()
FLOATS = torch.tensor(PIXELS).float() / 255
DRAWS = np.random.default_rng(0)


class Items(TorchDataset[Any]):
    """A map-style data set whose items are made by a function."""

    def __init__(self, item: Callable[[int], Any], count: int = COUNT) -> None:
        self.item, self.count = item, count

    def __getitem__(self, index: int) -> Any:
        return self.item(index)

    def __len__(self) -> int:
        return self.count


class Stream(IterableDataset[Any]):
    def __init__(self, item: Callable[[int], Any] = lambda i: (FLOATS[i], int(LABELS[i]))) -> None:
        self.item = item

    def __iter__(self) -> Iterator[Any]:
        return map(self.item, range(COUNT))


class ClassLabel:
    names = tuple("0123456789")


class HuggingFace:
    """The part of ``datasets.Dataset`` that is used; it is no torch data set."""

    def __init__(self, count: int = COUNT, image: str = "image", label: str = "label") -> None:
        self.count, self.column_names = count, [image, label]
        self.features = {image: object(), label: ClassLabel()}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.column_names
        return {image: pil(index), label: int(LABELS[index])}


def pil(index: int) -> Image.Image:
    return Image.fromarray(PIXELS[index, 0])


def item(index: int) -> tuple[Tensor, int]:
    return FLOATS[index], int(LABELS[index])


def channels_last(pixels: Any) -> Any:
    return np.repeat(pixels, 3, axis=1).transpose(0, 2, 3, 1)


def collate(items: list[Any]) -> dict[str, Tensor]:
    images, labels = default_collate([(np.array(image), label) for image, label in items])
    return {"pixel_values": images[:, None], "labels": labels}


class Linear(nn.Module):
    """A linear model of the class means, right on most digits."""

    def __init__(self) -> None:
        super().__init__()
        flat = FLOATS.flatten(1)
        means = torch.stack([flat[torch.tensor(k == LABELS)].mean(0) for k in range(10)])
        self.weight, self.bias = nn.Parameter(means), nn.Parameter(-means.square().sum(1) / 2)

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0].flatten(1) @ self.weight.T + self.bias
