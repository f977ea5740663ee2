"""Equal images within the test split, and between it and the training split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import DataRequest, Dataset, duplicates, load_dataset, split
from bench.data.duplicates import Copy, find_duplicates, known_duplicates
from bench.data.split import Pixels, array_split

RNG = np.random.default_rng(0)


def images(count: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (count, channels, 4, 4), np.uint8)


def dataset(train: Pixels, test: Pixels, train_labels: object = None, test_labels: object = None) -> Dataset:
    splits = []
    for name, pixels, labels in (("train", train, train_labels), ("test", test, test_labels)):
        splits.append(
            array_split(name, pixels, np.zeros(len(pixels), np.int64) if labels is None else np.array(labels))
        )
    return Dataset("toy", *splits, 2, 4, False)


def test_nothing_is_said_of_different_images() -> None:
    found = find_duplicates(dataset(images(20), images(10)))
    assert (found.groups, found.notes(["test/00000"]), found.leaked(["test/00000"])) == ((), (), 0)


def test_copies_are_counted_by_what_they_are() -> None:
    """Test images 0 and 1 are training image 2; 3, 4 and 5 are equal; 6 has an equal under another label."""
    train, test = images(5), images(8)
    test[[0, 1]], test[[4, 5]] = train[2], test[3]
    test[7] = test[6]
    data = dataset(train, test, [0, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1])
    found = find_duplicates(data)
    assert found.leaked(data.test.ids) == 2
    assert found.repeated(data.test.ids) == 1 + 2 + 1
    assert found.contradicted == {"test/00006", "test/00007"}
    assert found.groups[0] == ((Copy("test/00000", 1), Copy("test/00001", 1)), (Copy("train/00002", 1),))
    assert found.notes(data.test.ids) == (
        "copies among the 8 test images: 2 also in the training split, 4 equal to other test images, 2 with a copy "
        "under another label (equal pixels, 'bench show duplicates' lists them)",
    )


def test_a_part_of_the_test_split_has_its_own_counts() -> None:
    train, test = images(3), images(4)
    test[0], test[1] = train[0], train[0]
    found = find_duplicates(dataset(train, test))
    assert (found.leaked(["test/00001", "test/00002"]), found.repeated(["test/00001", "test/00002"])) == (1, 0)
    assert "1 also in the training split" in found.notes(["test/00001"])[0]
    assert found.notes(["test/00003"]) == ()


def test_a_training_copy_under_another_label() -> None:
    train, test = images(2), images(2)
    test[1] = train[0]
    found = find_duplicates(dataset(train, test, [1, 0], [0, 0]))
    assert found.groups[0].contradicts
    assert "1 with a copy under another label" in found.notes(["test/00000", "test/00001"])[0]


@pytest.mark.parametrize(
    "stored",
    [
        lambda grey: grey.astype(np.float32) / np.float32(255),
        lambda grey: np.repeat(grey, 3, axis=1),
        lambda grey: np.repeat(grey, 3, axis=1).astype(np.float32) / np.float32(255),
    ],
)
def test_what_a_network_sees_counts_and_not_how_it_is_stored(stored: Any) -> None:
    grey = images(6, channels=1)
    found = find_duplicates(dataset(grey, stored(grey[2:4])))
    assert [group.train[0].sample_id for group in found.groups] == ["train/00002", "train/00003"]


ROUNDED = {
    "times 1/255": lambda bytes_: bytes_.astype(np.float32) * np.float32(1 / 255),
    "divided in float64": lambda bytes_: (bytes_ / 255.0).astype(np.float32),
    "half precision": lambda bytes_: (bytes_ / np.float32(255)).astype(np.float16).astype(np.float32),
    "normalised and back": lambda bytes_: (
        ((bytes_ / np.float32(255) - np.float32(0.4914)) / np.float32(0.2023)) * np.float32(0.2023) + np.float32(0.4914)
    ).clip(0, 1),
}


@pytest.mark.parametrize("stored", ROUNDED.values(), ids=ROUNDED)
@pytest.mark.parametrize("divisor", [None, np.float32(255)], ids=["uint8", "float32"])
def test_floats_of_bytes_are_these_bytes_however_they_were_rounded(stored: Any, divisor: int) -> None:
    """All 256 values, in grey and, in another order per channel, in colour."""
    train = np.stack([RNG.permuted(np.arange(256, dtype=np.uint8)).reshape(1, 16, 16) for _ in range(6)])
    for pixels in (train, train.reshape(2, 3, 16, 16)):
        plain = pixels / divisor if divisor else pixels
        for test, trained in ((stored(pixels), plain), (plain, stored(pixels))):
            found = find_duplicates(dataset(trained, test))
            assert len(found.in_train) == len(pixels)
            assert {group.train[0].sample_id[5:] == group.test[0].sample_id[4:] for group in found.groups} == {True}


def test_other_floats_are_compared_as_they_are() -> None:
    """A pixel halfway between two bytes, or a difference of one byte, makes another image."""
    train = images(4) / np.float32(255)
    train[:, 0, 0, 0] = 100.5 / 255
    test = train.copy()
    test[0, 1, 1, 1] += 1e-6
    test[1, 0, 0, 0] = 100 / 255
    test[2, 1, 1, 1] = abs(test[2, 1, 1, 1] - 1 / 255)
    assert find_duplicates(dataset(train, test)).in_train == {"test/00003"}


def test_floats_that_are_no_bytes_and_negative_zero() -> None:
    train = np.zeros((2, 1, 4, 4), np.float32)
    train[:, 0, 0, 0], train[1, 0, 0, 1] = 0.3, 1e-7
    test = train[:1].copy()
    test[0, 0, 3, 3] = -0.0
    assert len(find_duplicates(dataset(train, test)).in_train) == 1


def test_one_different_pixel_is_another_image() -> None:
    train = images(3)
    test = train.copy()
    test[:, 2, 3, 3] ^= 1
    assert not find_duplicates(dataset(train, test)).groups


def test_many_images_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    train = images(50)
    whole = find_duplicates(dataset(train, train[::-1]))
    monkeypatch.setattr(split, "CHUNK_PIXELS", 7 * 16)
    assert find_duplicates(dataset(train, train[::-1])) == whole
    assert len(whole.in_train) == 50


def save(path: Path, seed: int, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One test image is a training image as another file, another byte for byte, the third is neither."""
    save(tmp_path / "pets/train/cat/a.png", 0), save(tmp_path / "pets/train/dog/b.png", 1)
    save(tmp_path / "pets/test/cat/c.bmp", 0), save(tmp_path / "pets/test/dog/d.png", 1)
    save(tmp_path / "pets/test/dog/e.png", 2)
    return tmp_path / "pets"


def load(root: Path) -> Dataset:
    return load_dataset("imagefolder", DataRequest(root))


def test_files_are_compared_by_their_pixels(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(root)
    assert "pets: 1 of 3 test files equal training files, byte for byte" in caplog.text
    found = find_duplicates(data)
    assert (found.in_train, found.method) == ({"test/cat/c.bmp", "test/dog/d.png"}, "pixels")


def test_many_bytes_of_files_are_compared_as_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "DECODED_BYTES", 100)
    found = find_duplicates(load(root))
    assert (found.in_train, found.method) == ({"test/dog/d.png"}, "files")
    assert "(equal files, " in found.notes(["test/dog/d.png"])[0]


def test_an_image_that_cannot_be_read_is_named_and_stops_nothing(root: Path) -> None:
    save(root / "train/dog/bad.png", 3)
    (root / "train/dog/bad.png").write_bytes((root / "train/dog/bad.png").read_bytes()[:60])
    found = find_duplicates(load(root))
    assert (found.in_train, found.unread) == ({"test/cat/c.bmp", "test/dog/d.png"}, ("train/dog/bad.png",))
    assert found.notes(["test/dog/e.png"]) == (
        "unreadable images, not checked for copies: 1, such as train/dog/bad.png",
    )


def test_nothing_is_known_where_no_training_image_can_be_read() -> None:
    data = dataset(images(2) / np.float32(100), images(2))  # out of [0, 1]
    found = find_duplicates(data)
    assert found.leaked(data.test.ids) is None
    assert found.notes(data.test.ids) == ("unreadable images, not checked for copies: 2, such as train/00000",)


def test_digits_have_no_copies() -> None:
    data = load_dataset("digits", DataRequest())
    pixels = np.concatenate([split.read(np.arange(len(split))) for split in (data.train, data.test)])
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == len(pixels)
    assert find_duplicates(data).groups == ()


def counting_reads(data: Dataset, reads: list[int]) -> Dataset:
    """The data set; ``reads`` gets the number of training images of every read."""

    def read(indices: np.ndarray) -> Pixels:
        reads.append(len(indices))
        return data.train.read(indices)

    return replace(data, train=replace(data.train, read=read))


def test_the_same_images_are_searched_once_per_process() -> None:
    train, test, reads = images(5), images(4), []
    test[0] = train[2]
    first, again = (known_duplicates(counting_reads(dataset(train, test), reads)) for _ in range(2))
    assert (reads, again) == ([5], first)
    assert first.in_train == {"test/00000"}


def test_other_pixels_and_other_labels_are_searched_again() -> None:
    train, test, reads = images(5), images(4), []
    test[:2] = train[2]
    assert known_duplicates(counting_reads(dataset(train, test), reads)).contradicted == frozenset()
    relabelled = known_duplicates(counting_reads(dataset(train, test, test_labels=[0, 1, 0, 0]), reads))
    assert relabelled.contradicted == {"test/00000", "test/00001"}
    assert known_duplicates(counting_reads(dataset(train[:4], test), reads)).leaked(["test/00000"]) == 1
    assert known_duplicates(counting_reads(dataset(train, test[1:]), reads)).in_train == {"test/00000"}
    assert reads == [5, 5, 4, 5]


def test_splits_without_a_hash_are_searched_every_time() -> None:
    reads, test = [], images(2)
    for count in (2, 3):
        data = counting_reads(dataset(images(count), test), reads)
        known_duplicates(replace(data, train=replace(data.train, sha="")))
    assert reads == [2, 3]


def test_what_could_not_be_read_is_tried_again() -> None:
    train, test = images(3), images(2)
    test[1] = train[1]
    data = dataset(train, test)

    def fail(indices: np.ndarray) -> Pixels:
        raise OSError("the network is down")

    down = known_duplicates(replace(data, train=replace(data.train, read=fail)))
    assert (down.leaked(["test/00001"]), len(down.unread)) == (None, 3)
    assert known_duplicates(data).leaked(["test/00001"]) == 1


@pytest.mark.parametrize("scale", [256.0, 100.0])
def test_splits_that_are_stored_otherwise_are_not_compared(scale: float) -> None:
    """All test images are training images, divided by another number: their number is not known, and that is said."""
    pixels = images(20)
    scaled = (pixels / scale).astype(np.float32).clip(0, 1)
    for train, test in ((scaled, pixels), (pixels, scaled)):
        found = find_duplicates(dataset(train, test))
        assert found.leaked(["test/00000"]) is None
        assert any("cannot be compared with training images" in note for note in found.notes(["test/00000"]))
    assert find_duplicates(dataset(scaled, scaled)).leaked(["test/00000"]) == 1
