"""Images that do not fill [0, 1], and readers that do not return the images they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.data import DataRequest, Dataset, accept, load_dataset, pixel_checks
from bench.data.pixel_checks import check_range, check_repeatable
from bench.data.split import Pixels, Split, array_split

RNG = np.random.default_rng(0)
UNITS = "images must fill [0, 1], since ε is in these units"


def full(count: int = 40) -> np.ndarray:
    images = RNG.integers(0, 256, (count, 1, 4, 4), np.uint8)
    images[:, 0, 0, 0] = 255
    return images


def dataset(test: Pixels, train: Pixels | None = None) -> Dataset:
    splits = [(name, full() if pixels is None else pixels) for name, pixels in (("train", train), ("test", test))]
    made = [array_split(name, pixels, np.arange(len(pixels)) % 2) for name, pixels in splits]
    return Dataset("toy", *made, 2, 4, False)


DIGITS = (full().astype(int) * 16 // 255).astype(np.uint8)  # 0…16, as scikit-learn stores them

DARK = {
    "0 to 16": (DIGITS, "16 of 255"),
    "6 bits": (full() // 4, "63 of 255"),
    "a quarter": (np.full((40, 1, 4, 4), 64, np.uint8), "64 of 255"),
    "floats of 0 to 16, scaled as bytes": (DIGITS / np.float32(255), "0.063"),
    "floats of 14 bits in 16": ((full() / np.float32(255) * 16383 / 65535).astype(np.float32), "0.25"),
}


@pytest.mark.parametrize(("images", "largest"), DARK.values(), ids=DARK)
def test_a_dark_split_gets_a_note(images: Pixels, largest: str) -> None:
    note = f"images is {largest}: {UNITS}"
    assert check_range(dataset(images)).notes == (f"the largest pixel of the test {note}",)
    assert check_range(dataset(full(), images)).notes == (f"the largest pixel of the training {note}",)


ALMOST_BLACK = {
    "masks": (full() // 255, "is 1 of 255, but .* units; multiply the images by 255"),
    "divided by 255 twice": (full() / np.float32(255) / np.float32(255), "is 0.0039, but .*, by 255 if they were div"),
    "black": (full() * 0, "is 0 of 255, but .*; check how the images are read"),
    "black floats": (full() * np.float32(0), "is 0, but .*; check how the images are read"),
}


@pytest.mark.parametrize(("images", "sentence"), ALMOST_BLACK.values(), ids=ALMOST_BLACK)
def test_test_images_that_are_almost_black_are_refused(images: Pixels, sentence: str) -> None:
    with pytest.raises(BenchError, match=f"^toy: the largest pixel of the test images {sentence}"):
        check_range(dataset(images))
    (note,) = check_range(dataset(full(), images)).notes
    assert note.startswith("the largest pixel of the training images")


BRIGHT = {
    "bytes": full(),
    "floats": full() / np.float32(255),
    "just above a quarter": np.full((40, 1, 4, 4), 65, np.uint8),
    "one image is bright": np.concatenate([full(400) // 16, full(1), full(398) // 16]),
}


@pytest.mark.parametrize("images", BRIGHT.values(), ids=BRIGHT)
def test_images_that_fill_the_range_get_no_note(images: Pixels) -> None:
    assert check_range(dataset(images, images)).notes == ()


def test_of_many_dark_images_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_checks, "DARK_IMAGES", 50)
    (note,) = check_range(dataset(full(60) // 16)).notes
    assert note == f"the largest pixel of 50 of the test images is 15 of 255: {UNITS}"


def test_unreadable_images_do_not_hide_dark_ones() -> None:
    data = dataset(full(40) // 16)

    def read(indices: np.ndarray) -> Pixels:
        if 7 in indices or 39 in indices:
            raise OSError("damaged")
        return data.test.read(indices)

    (note,) = check_range(replace(data, test=replace(data.test, read=read))).notes
    assert "is 15 of 255" in note


def test_a_note_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = accept(accept(dataset(DIGITS)))
    assert len(data.notes) == 1
    assert caplog.messages == [f"toy: {data.notes[0]}"] * 2


def test_every_row_has_the_note(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    data = dataset(DIGITS)
    table = evaluate(model, name="n", dataset=data, attacks=["fgsm"], eps=["0.05"], corruptions="none", audit="none")
    assert len(table) == 2
    assert table["notes"].str.contains("the largest pixel of the test images is 16 of 255", regex=False).all()
    assert "the largest pixel of the test images is 16 of 255" in caplog.text


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_twelve_bits_stored_as_sixteen_get_a_note(tmp_path: Path, name: str) -> None:
    for seed, folder in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / folder).mkdir(parents=True)
        deep = np.random.default_rng(seed).integers(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / folder / name)
    notes = load_dataset("imagefolder", DataRequest(tmp_path)).notes
    assert [note.split(" images is ")[0] for note in notes] == [
        "the largest pixel of the training", "the largest pixel of the test"
    ]  # fmt: skip
    assert all(f" of 255: {UNITS}" in note for note in notes)


def read_by(change: Callable[[np.ndarray, Pixels], Pixels], count: int = 500) -> Dataset:
    """A data set whose reader passes its images, and their indices, through ``change``."""
    data = dataset(full(count))
    split = data.test

    def read(indices: np.ndarray) -> Pixels:
        return change(indices, split.read(indices).copy())

    return replace(data, test=replace(split, read=read))


def drawn(where: Callable[[np.ndarray, Split], np.ndarray]) -> Dataset:
    """A data set that draws new pixels for some images at every read."""
    noise = np.random.default_rng(0)
    plain = dataset(full(500)).test

    def change(indices: np.ndarray, images: Pixels) -> Pixels:
        chosen = where(indices, plain)
        images[chosen] = noise.integers(0, 256, images[chosen].shape)
        return images

    return read_by(change)


RANDOM = {
    "from the 64th on": lambda indices, split: indices >= 64,
    "the last": lambda indices, split: indices == 499,
    "the first": lambda indices, split: indices == 0,
    "a tenth in the middle": lambda indices, split: (indices >= 220) & (indices < 270),
    "a class": lambda indices, split: split.labels[indices] == 1,
    "even places of the batch": lambda indices, split: np.arange(len(indices)) % 2 == 0,
    "late places of the batch": lambda indices, split: np.arange(len(indices)) >= 32,
}


@pytest.mark.parametrize("where", RANDOM.values(), ids=RANDOM)
def test_random_augmentation_anywhere_is_found(where: Callable[[np.ndarray, Split], np.ndarray]) -> None:
    with pytest.raises(BenchError, match="two reads of the same test images differ"):
        check_repeatable(drawn(where))


def test_random_augmentation_of_a_rare_class_is_found() -> None:
    """Image 3 alone has class 1, and is none of the evenly spaced."""
    data = drawn(lambda indices, split: indices == 3)
    labels = (np.arange(500) == 3).astype(np.int64)
    check_repeatable(replace(data, test=replace(data.test, labels=labels * 0)))
    with pytest.raises(BenchError, match="two reads of the same test images differ"):
        check_repeatable(replace(data, test=replace(data.test, labels=labels)))


def test_a_reader_that_ignores_the_indices_is_found() -> None:
    whole = full(500)
    with pytest.raises(BenchError, match="read must return the images of the given indices"):
        check_repeatable(read_by(lambda indices, images: whole[: len(indices)]))


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_a_repeatable_reader_passes_and_is_asked_in_ascending_order(count: int) -> None:
    asked = []
    check_repeatable(read_by(lambda indices, images: asked.append(indices) or images, count))
    assert all((np.diff(indices) > 0).all() for indices in asked)
    assert {0, count - 1} <= set(asked[0].tolist())
    assert len(asked[0]) <= 130
    assert sorted(np.concatenate(asked[1:])) == asked[0].tolist()
