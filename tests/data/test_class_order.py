"""Labels of class folders: natural order for numbers, that of strings otherwise, and a word where it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BenchError
from bench.data import DataRequest, Dataset, load_dataset
from bench.data.class_order import natural_key, order_classes

NUMBERS = [str(number) for number in range(12)]


def folder(root: Path, names: list[str], *, splits: tuple[str, ...] = ("train", "test")) -> Path:
    for split in splits:
        for value, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), 100 + value, np.uint8)).save(root / split / name / "a.png")
    return root


def load(root: Path, order: str | None = None) -> Dataset:
    return load_dataset("imagefolder", DataRequest(root, class_order=order))


def labels(data: Dataset) -> dict[str, int]:
    return {name.split("/")[1]: label for name, label in zip(data.test.ids, data.test.labels.tolist(), strict=True)}


def test_numbers_are_labels(tmp_path: Path) -> None:
    data = load(folder(tmp_path, NUMBERS))
    assert labels(data) == {name: int(name) for name in NUMBERS}
    (note,) = data.notes
    assert note.startswith("class names are numbers and were taken in natural order (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10")
    assert note.endswith("(torchvision's ImageFolder: 0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9) need --class-order string")


def test_numbers_in_the_order_of_strings_on_request(tmp_path: Path) -> None:
    data = load(folder(tmp_path, NUMBERS), "string")
    assert labels(data) == {name: label for label, name in enumerate(sorted(NUMBERS))}
    assert "taken in string order" in data.notes[0]
    assert data.notes[0].endswith("need --class-order natural")


def test_the_order_is_part_of_the_hash(tmp_path: Path) -> None:
    folder(tmp_path, NUMBERS)
    assert load(tmp_path).train.sha == load(tmp_path, "natural").train.sha != load(tmp_path, "string").train.sha


@pytest.mark.parametrize("names", [["00", "01", "10"], ["0", "1", "9"], ["n01440764", "n02102040"], ["cat", "dog"]])
def test_nothing_is_said_where_both_orders_are_one(names: list[str]) -> None:
    assert order_classes(names, None) == (names, ())


@pytest.mark.parametrize("names", [["c10", "c9"], ["Zebra", "cat"]])
def test_other_names_keep_the_order_of_strings_and_say_so(names: list[str]) -> None:
    order, (note,) = order_classes(names[::-1], None)
    assert order == names
    assert note.startswith(f"class names were taken in string order ({names[0]}, {names[1]})")
    assert order_classes(names, "natural")[0] == names[::-1]


@pytest.mark.parametrize(
    "names", [NUMBERS, ["c10", "c9", "C1", "b", "x2y10", "x2y9"], ["007", "8", "06"], ["a-1", "a_2"]]
)
def test_natural_order_is_that_of_timm(tmp_path: Path, names: list[str]) -> None:
    from timm.data.readers.reader_image_folder import find_images_and_targets

    folder(tmp_path, names, splits=("train",))
    _, expected = find_images_and_targets(str(tmp_path / "train"))
    assert {name: label for label, name in enumerate(sorted(names, key=natural_key))} == expected


def test_the_order_of_strings_is_that_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    folder(tmp_path, NUMBERS)
    assert ImageFolder(str(tmp_path / "test")).class_to_idx == labels(load(tmp_path, "string"))


def test_an_order_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="class order 'size' is unknown; write natural or string"):
        load(folder(tmp_path, NUMBERS), "size")


def test_the_order_is_for_folders() -> None:
    with pytest.raises(BenchError, match="--class-order is for an imagefolder; the labels of digits are in its files"):
        load_dataset("digits", DataRequest(class_order="natural"))
