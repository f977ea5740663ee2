"""Measured moments, and the checks that every data set passes before anything runs or is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.split import (
    Dataset,
    Moments,
    Split,
    array_split,
    check_dataset,
    measure_moments,
    read_checked,
)


def split_of(labels: list[int], ids: list[str] | None = None) -> Split:
    ids = [f"test/{i:05d}" for i in range(len(labels))] if ids is None else ids
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return Split("test", ids, np.array(labels, dtype=np.int64), "", lambda indices: pixels[indices])


@given(
    pixels=st.integers(1, 5).flatmap(
        lambda n: st.binary(min_size=n * 12, max_size=n * 12).map(
            lambda raw: np.frombuffer(raw, np.uint8).reshape(-1, 3, 2, 2)
        )
    )
)
def test_measured_moments_are_the_plain_ones(pixels: np.ndarray) -> None:
    split = array_split("train", pixels, np.zeros(len(pixels), np.int64))
    scaled = pixels.astype(np.float64) / 255
    measured = measure_moments(split)
    spread = scaled.std(axis=(0, 2, 3))
    assert np.allclose(measured.mean, scaled.mean(axis=(0, 2, 3)), atol=6e-5)
    # Near 0 the rounding decides, and an exact 0 is replaced by 1.
    assert np.allclose(np.where(spread < 1e-4, 0, measured.std), np.where(spread < 1e-4, 0, spread), atol=6e-5)
    assert all(value > 0 for value in measured.std)


def dataset(train: Split, test: Split, num_classes: int = 2) -> Dataset:
    return Dataset("toy", train, test, num_classes, 2, False, Moments((0.5,), (0.5,)))


@pytest.mark.parametrize(
    ("train", "test", "classes", "sentence"),
    [
        ([0, 1], [0, 2], 2, r"toy: image 'test/00001' has label 2, outside 0…1; correct"),
        ([0, -1], [0, 1], 2, r"has label -1, outside 0…1; correct"),
        ([0, 1], [], 2, "the test split has no images"),
        ([0], [0], 1, "1 class found; a classifier needs at least 2"),
    ],
)
def test_data_sets_that_cannot_be_used(train: list[int], test: list[int], classes: int, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        check_dataset(dataset(split_of(train), split_of(test), classes))


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((2, 1, 2, 2), np.nan, np.float32), "image 'test/00000' has NaN or infinite pixels"),
        (np.full((2, 1, 2, 2), 1.5, np.float32), "range from 0 to 1.5 but must lie in"),
        (np.full((2, 1, 2, 2), -1, np.float32), "range from -1 to 1"),
        (np.zeros((2, 1, 2, 2)), "type float64"),
        (np.zeros((2, 2, 2, 4), np.uint8), r"shape \(2, 2, 2, 4\)"),
    ],
)
def test_pixels_that_cannot_be_images(pixels: np.ndarray, sentence: str) -> None:
    split = array_split("test", pixels, np.zeros(2, np.int64))
    with pytest.raises(BenchError, match=sentence):
        read_checked(split, np.arange(2), dataset="toy")
