"""Pixels of data sets made from Python objects: bytes, floats, copies and memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from python_sources import (
    COUNT,
    FLOATS,
    LABELS,
    PIXELS,
    Items,
    Stream,
    item,
    pil,
)
from torch import Tensor

from bench.data import pixels as pixels_module
from bench.data.from_python import as_dataset


def test_every_multiple_of_a_255th_becomes_a_byte() -> None:
    """In float64 and float32, divided on any side; in half precision, they are other numbers and stay them."""
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for floats in (levels / 255, torch.tensor(levels).float() / 255, torch.tensor(levels).double() / 255):
        split = as_dataset((floats, [0]), num_classes=2).test
        assert np.array_equal(split.read(np.arange(1)), levels)
    half = (torch.tensor(levels).float() / 255).half()
    kept = as_dataset((half, [0]), num_classes=2).test.read(np.arange(1))
    assert np.array_equal(kept, half.float().numpy())


def test_one_image_with_other_values_keeps_all_as_floats() -> None:
    """Whether it is in the first chunk, with bytes before it, or alone."""
    for odd in (0, 3, 70):
        images = FLOATS.clone()
        images[odd, 0, 0, 0] = 0.4999
        found = as_dataset(Items(lambda i, images=images: (images[i], LABELS[i]))).test.read(np.arange(COUNT))
        assert found.dtype == np.float32
        assert np.array_equal(found, images.numpy())
    mixed = Items(lambda i: (torch.full((1, 8, 8), 0.4999) if i == 3 else pil(i), LABELS[i]))
    found = as_dataset(mixed).test.read(np.arange(COUNT))
    assert np.array_equal(found[2], FLOATS[2].numpy())


def test_bfloat16() -> None:
    found = as_dataset((FLOATS.bfloat16(), LABELS)).test.read(np.arange(COUNT))
    assert np.array_equal(found, FLOATS.bfloat16().float().numpy())


def test_the_split_keeps_its_own_images() -> None:
    pixels = PIXELS.copy()
    data = as_dataset((pixels, LABELS))
    pixels[:] = 0
    assert np.array_equal(data.test.read(np.arange(COUNT)), PIXELS)


def test_a_large_source_says_what_memory_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, before all of it is read if its length is known."""
    as_dataset((PIXELS, LABELS))
    assert not caplog.messages
    size = PIXELS.nbytes
    monkeypatch.setattr(pixels_module, "STATED_BYTES", size - 1)
    monkeypatch.setattr(pixels_module, "GIGABYTE", size)
    read: list[int] = []

    def watched(index: int) -> tuple[Tensor, int]:
        read.append(index)
        if index == 64:
            assert caplog.messages
        return item(index)

    for source in (Items(watched), Stream()):
        caplog.clear()
        as_dataset(source)
        assert caplog.messages == ["own: test images take 1.0 GB of memory; give a Subset to read fewer."]
    assert 64 in read
