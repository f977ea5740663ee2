"""One check for every data set: labels in all the forms they come in, ids, and pixels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.data import DATASETS, DataRequest, load_dataset
from bench.data.pixel_checks import check_repeatable
from bench.data.split import Dataset, Split, array_split, check_dataset
from bench.data.tensors import Images, load_images

PIXELS = np.full((4, 3, 2, 2), 200, np.uint8)


def dataset(labels: Any, *, train_labels: Any = (0, 1, 2, 0), num_classes: int = 3, pixels: Any = PIXELS) -> Dataset:
    train, test = array_split("train", PIXELS, train_labels), array_split("test", pixels, labels)
    return Dataset(name="own", train=train, test=test, num_classes=num_classes, image_size=2, official=False)


INTEGERS = {
    "list": [0, 1, 2, 1],
    "tuple": (0, 1, 2, 1),
    "int32": np.array([0, 1, 2, 1], np.int32),
    "uint8": np.array([0, 1, 2, 1], np.uint8),
    "big-endian": np.array([0, 1, 2, 1], ">i2"),
    "strided": np.array([0, 9, 1, 9, 2, 9, 1, 9])[::2],
    "tensor": torch.tensor([0, 1, 2, 1]),
    "int32 tensor": torch.tensor([0, 1, 2, 1], dtype=torch.int32),
}


@pytest.mark.parametrize("labels", INTEGERS.values(), ids=INTEGERS)
def test_integers_of_every_kind_become_int64(labels: Any) -> None:
    checked = check_dataset(dataset(labels, train_labels=labels))
    for split in (checked.train, checked.test):
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == [0, 1, 2, 1]
    assert checked.test.sha == dataset(INTEGERS["list"]).test.sha, "the same labels are the same split"


def test_booleans_are_two_classes() -> None:
    assert check_dataset(dataset([True, False, True, True])).test.labels.tolist() == [1, 0, 1, 1]


def test_labels_that_the_caller_changes_later_stay_as_they_were_checked() -> None:
    labels = np.array([0, 1, 2, 1])
    checked = check_dataset(dataset(labels))
    labels[0] = 2
    assert checked.test.labels.tolist() == [0, 1, 2, 1]


REFUSED = {
    "from one": ([1, 2, 3, 1], r"own: image 'test/00002' has label 3, outside 0…2; correct"),
    "negative": ([0, -1, 2, 1], r"own: image 'test/00001' has label -1, outside 0…2; correct"),
    "ignore index": ([0, 1, 2, -100], r"own: image 'test/00003' has label -100, outside 0…2; correct"),
    "wrapped uint8": (np.array([0, 255, 1, 2], np.uint8), "image 'test/00001' has label 255, outside"),
    "huge uint64": (np.array([0, 2**64 - 100, 1, 2], np.uint64), f"image 'test/00001' has label {2**64 - 100}"),
    "whole floats": (np.array([0, 1, 2, 1], np.float32), "type float32, image 'test/00000' has label 0.0"),
    "other floats": ([0.0, 1.0, 0.5, 1.0], "type float64, image 'test/00002' has label 0.5"),
    "NaN": ([0.0, np.nan, 2.0, 1.0], "image 'test/00001' has label nan; class indices must be integers"),
    "float tensor": (torch.tensor([0.0, 1.0, 2.0, 1.0]), "type float32"),
    "strings": (["cat", "dog", "cat", "cat"], "image 'test/00000' has label cat; class indices must be integers"),
    "missing": ([0, None, 2, 1], "type object, image 'test/00001' has label None"),
    "masked": (np.ma.masked_array([0, 1, 2, 1], [0, 0, 0, 1]), "masked entries"),
    "one-hot": (np.eye(3, dtype=np.int64)[[0, 1, 2, 1]], r"shape \(4, 3\).*labels.argmax\(1\)"),
    "one-hot tensor": (torch.eye(3)[[0, 1, 2, 1]], r"shape \(4, 3\).*labels.argmax\(1\)"),
    "a column": (np.array([[0], [1], [2], [1]]), r"shape \(4, 1\).*labels.reshape\(-1\)"),
    "a number": (1, r"shape \(\)"),
    "ragged": ([[0], [1, 2], 2, 1], "cannot be read as an array of integers"),
    "too few": ([0, 1, 2], "own: test labels are 3 for 4 images"),
    "too many": ([0, 1, 2, 1, 0], "own: test labels are 5 for 4 images"),
    "none": (None, r"shape \(\).*NoneType is not a list or an array"),
    "a set": ({0, 1, 2}, r"shape \(\).*set is not a list or an array"),
}


@pytest.mark.parametrize(("labels", "sentence"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("where", ["test", "train"])
def test_other_labels_are_one_sentence(where: str, labels: Any, sentence: str) -> None:
    given = dataset(labels) if where == "test" else dataset([0, 1, 2, 1], train_labels=labels)
    with pytest.raises(BenchError, match=sentence.replace("test", where)) as caught:
        check_dataset(given)
    assert str(caught.value).startswith("own: ")
    assert "\n" not in str(caught.value)


def read(data: Dataset) -> Images:
    """As they are read before the first cell."""
    return load_images(check_dataset(data).test, None, dataset=data.name, size=data.image_size)


BAD_PIXELS = {
    "HWC": (np.zeros((4, 2, 2, 3), np.uint8), r"shape \(4, 2, 2, 3\)"),
    "float64": (np.zeros((4, 3, 2, 2)), "type float64"),
    "int64": (np.zeros((4, 3, 2, 2), np.int64), "type int64"),
    "NaN": (np.full((4, 3, 2, 2), np.nan, np.float32), "image 'test/00000' has NaN or infinite pixels"),
    "bytes as floats": (np.full((4, 3, 2, 2), 255, np.float32), "range from 0 to 255 but must lie in"),
    "normalised": (np.full((4, 3, 2, 2), -1.5, np.float32), "range from -1.5 to 1"),
    "two channels": (np.zeros((4, 2, 2, 2), np.uint8), r"shape \(4, 2, 2, 2\)"),
    "flat": (np.zeros((4, 12), np.uint8), r"shape \(4, 12\)"),
    "another size": (np.zeros((4, 3, 4, 4), np.uint8), "test images have 4×4 pixels, but image_size is 2"),
    "not square": (np.zeros((4, 3, 2, 3), np.uint8), "have 3×2 pixels, but image_size is 2"),
    "one image fewer": (PIXELS[:3], "test labels are 4 for 3 images"),
}


@pytest.mark.parametrize(("pixels", "sentence"), BAD_PIXELS.values(), ids=BAD_PIXELS)
def test_pixels_that_cannot_be_images(pixels: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence) as caught:
        read(dataset([0, 1, 2, 1], pixels=pixels))
    assert str(caught.value).startswith("own: ")


def test_pixels_may_be_a_tensor() -> None:
    assert read(dataset([0, 1, 2, 1], pixels=torch.zeros(4, 3, 2, 2))).pixels.dtype == torch.float32


def test_a_reader_that_returns_another_number_of_images() -> None:
    given = dataset([0, 1, 2, 1])
    broken = replace(given, test=replace(given.test, read=lambda indices: PIXELS[:0]))
    with pytest.raises(BenchError, match="own: 4 test images were requested, but 0 were read"):
        read(broken)


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], ["a", "b", "c\nd", "e"], ["a", "b", "c", "\udcff"]])
def test_ids_are_text(ids: list[Any]) -> None:
    given = dataset([0, 1, 2, 1])
    with pytest.raises(BenchError, match="ids must be strings in UTF-8 without line breaks"):
        check_dataset(replace(given, test=replace(given.test, ids=ids)))


@pytest.mark.parametrize("bad", ["007", "NA", "", "true", "=1.png"])
def test_ids_are_what_a_csv_reader_returns(bad: str) -> None:
    given = dataset([0, 1, 2, 1])
    with pytest.raises(BenchError, match=f"own: test image '{bad}' needs another id: .*; call it 'test/{bad}'"):
        check_dataset(replace(given, test=replace(given.test, ids=["a", bad, "c", "d"])))
    check_dataset(replace(given, test=replace(given.test, ids=["a", f"test/{bad}", "c", "d"])))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "007"}, "data set name '007' cannot be used: .*; call it 'data-set-007'"),
        ({"name": None}, "data set name None is of type NoneType; give a string"),
        ({"num_classes": 3.0}, "num_classes is 3.0; it must be an integer"),
        ({"num_classes": None}, "num_classes is None"),
        ({"image_size": "2"}, "image_size is '2'"),
        ({"test": None}, "its test split is of type NoneType, not a bench.data.split.Split"),
        ({"train": [PIXELS]}, "its train split is of type list"),
        ({"num_classes": 2}, "has label 2, outside 0…1"),
        ({"class_names": ("a", "b")}, "class_names has 2 distinct names for 3 classes"),
        ({"class_names": ("a", "b", "b")}, "class_names has 2 distinct names for 3 classes"),
    ],
)
def test_other_parts_of_a_data_set(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        check_dataset(replace(dataset([0, 1, 2, 1]), **change))


def test_a_good_data_set_passes_unchanged() -> None:
    given = dataset([0, 1, 2, 1])
    checked = check_dataset(given)
    assert isinstance(checked.test, Split)
    assert (checked.name, checked.test.sha, checked.train.sha) == ("own", given.test.sha, given.train.sha)


def test_a_split_keeps_its_own_images() -> None:
    pixels = np.zeros((2, 3, 8, 8), np.uint8)
    split = array_split("test", pixels, [0, 1])
    pixels += 9
    assert split.read(np.arange(2)).max() == 0


def test_images_that_are_no_plain_array_are_refused() -> None:
    pixels = np.zeros((2, 3, 8, 8), np.float32)
    for bad in (np.ma.masked_array(pixels, mask=pixels == 0), torch.tensor(pixels, requires_grad=True)):
        with pytest.raises(BenchError, match="the test images are"):
            array_split("test", bad, [0, 1])


def test_images_that_differ_between_two_reads_are_refused() -> None:
    train, test = (array_split(name, PIXELS, [0, 1, 0, 1]) for name in ("train", "test"))
    data = Dataset("own", train, test, num_classes=2, image_size=2, official=False)
    check_repeatable(check_dataset(data))
    noise = np.random.default_rng(0)
    drawn = replace(test, read=lambda indices: noise.integers(0, 256, (len(indices), 3, 2, 2)).astype(np.uint8))
    with pytest.raises(BenchError, match="two reads of the same test images differ"):
        check_repeatable(replace(data, test=drawn))


def test_a_registered_data_set_is_converted_and_read_twice(request: pytest.FixtureRequest) -> None:
    """Plug-ins pass the same checks as data sets that are handed over."""
    train, test = (Split(name, list("abcd"), [0, 1, 0, 1], "sha", lambda ix: PIXELS[ix]) for name in ("train", "test"))
    noise = np.random.default_rng(0)
    drawn = replace(test, read=lambda ix: noise.integers(0, 256, (len(ix), 3, 2, 2)).astype(np.uint8))
    data = Dataset("own", train, test, num_classes=2, image_size=2, official=False)
    for name, given in (("listed", data), ("drawn", replace(data, test=drawn))):
        entry = replace(DATASETS.get("digits"), load=lambda request, given=given: given)
        DATASETS.register(name, entry, origin="own.py")
        request.addfinalizer(partial(DATASETS.remove, name))
    assert load_dataset("listed", DataRequest()).test.labels.dtype == np.int64
    with pytest.raises(BenchError, match="two reads of the same test images differ"):
        load_dataset("drawn", DataRequest())


def test_evaluate_reads_twice() -> None:
    noise = np.random.default_rng(0)
    train, test = (array_split(name, PIXELS, [0, 1, 0, 1]) for name in ("train", "test"))
    drawn = replace(test, read=lambda ix: noise.integers(0, 256, (len(ix), 3, 2, 2)).astype(np.uint8))
    data = Dataset("own", train, drawn, num_classes=2, image_size=2, official=False)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    with pytest.raises(BenchError, match="two reads of the same test images differ"):
        evaluate(model, name="n", dataset=data, attacks="none", corruptions="none", audit="none")
