"""Tensors, DataLoaders, torch and Hugging Face data sets as data sets to evaluate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)
from torch.utils.data import Dataset as TorchDataset

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.data import DataRequest, Dataset, load_dataset
from bench.data import pixels as pixels_module
from bench.data.from_python import as_dataset
from bench.data.split import array_split, check_dataset
from bench.store import Store

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


SOURCES: dict[str, Callable[[], Any]] = {
    "tensors": lambda: (FLOATS, torch.tensor(LABELS)),
    "arrays": lambda: [PIXELS, LABELS],
    "float64 arrays": lambda: (PIXELS / 255, LABELS.tolist()),
    "uint8 without channels, as torchvision's .data": lambda: (torch.tensor(PIXELS[:, 0]), LABELS.tolist()),
    "list of PIL images": lambda: ([pil(i) for i in range(COUNT)], LABELS),
    "tensors with gradients": lambda: (FLOATS.clone().requires_grad_(), LABELS),
    "TensorDataset": lambda: TensorDataset(FLOATS, torch.tensor(LABELS)),
    "list of items": lambda: [item(i) for i in range(COUNT)],
    "PIL items": lambda: Items(lambda i: (pil(i), LABELS[i])),
    "RGB PIL items": lambda: Items(lambda i: (pil(i).convert("RGB"), torch.tensor(LABELS[i]))),
    "HWC items": lambda: Items(lambda i: {"img": channels_last(PIXELS)[i], "fine_label": LABELS[i]}),
    "pixel_values beside the image": lambda: Items(
        lambda i: {"image": Image.new("RGB", (9, 5)), "pixel_values": FLOATS[i], "labels": LABELS[i]}
    ),
    "Subset": lambda: Subset(Items(lambda i: item(i - 5), COUNT + 5), range(5, COUNT + 5)),
    "ConcatDataset": lambda: ConcatDataset([Items(item, 30), Items(lambda i: item(i + 30), COUNT - 30)]),
    "DataLoader": lambda: DataLoader(Items(item), batch_size=7),
    "shuffled DataLoader": lambda: DataLoader(TensorDataset(FLOATS, torch.tensor(LABELS)), 16, shuffle=True),
    "DataLoader that drops the last batch": lambda: DataLoader(Items(item), batch_size=7, drop_last=True),
    "DataLoader of PIL images": lambda: DataLoader(Items(lambda i: (pil(i), LABELS[i])), 16, shuffle=True),
    "DataLoader with a subset sampler": lambda: DataLoader(
        Items(lambda i: item(i % COUNT), 2 * COUNT), 16, sampler=SubsetRandomSampler(range(COUNT))
    ),
    "DataLoader with collate_fn": lambda: DataLoader(
        Items(lambda i: (pil(i), LABELS[i])), 16, shuffle=True, collate_fn=collate
    ),
    "DataLoader without batches": lambda: DataLoader(Items(item), batch_size=None),
    "IterableDataset": Stream,
    "DataLoader of an IterableDataset": lambda: DataLoader(Stream(), batch_size=7),
    "iterator over batches": lambda: iter(DataLoader(Items(item), batch_size=7)),
    "one-channel batches without a channel axis": lambda: DataLoader(Stream(lambda i: (PIXELS[i, 0], LABELS[i])), 7),
    "generator": lambda: (item(i) for i in range(COUNT)),
    "Hugging Face": HuggingFace,
    "DatasetDict": lambda: {"train": HuggingFace(TRAIN), "validation": HuggingFace(3), "test": HuggingFace()},
}


def given() -> Dataset:
    train = array_split("train", PIXELS[:0], LABELS[:0])
    return check_dataset(Dataset("own", train, array_split("test", PIXELS, LABELS), 10, 8, official=False))


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_every_form_gives_the_same_images_labels_and_ids(make: Callable[[], Any]) -> None:
    data, expected = as_dataset(make()).test, given().test
    found = data.read(np.arange(len(data)))
    assert found.dtype == np.uint8
    grey = found[:, :1]
    assert np.array_equal(grey, expected.read(np.arange(COUNT)))
    assert (found == grey).all(), "three channels are copies of the grey one"
    assert data.labels.tolist() == LABELS.tolist()
    assert list(data.ids) == list(expected.ids)
    assert data.ids[3] == "test/00003"
    if found.shape[1] == 1:
        assert data.sha == expected.sha


class Linear(nn.Module):
    """A linear model of the class means, right on most digits."""

    def __init__(self) -> None:
        super().__init__()
        flat = FLOATS.flatten(1)
        means = torch.stack([flat[torch.tensor(k == LABELS)].mean(0) for k in range(10)])
        self.weight, self.bias = nn.Parameter(means), nn.Parameter(-means.square().sum(1) / 2)

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0].flatten(1) @ self.weight.T + self.bias


def outcomes(source: Any, results: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows, and the outcome of every image for every cell."""
    rows = evaluate(
        Linear(),
        name="linear",
        dataset=source,
        attacks=["fgsm", "pgd-3"],
        eps=["0.1"],
        limit=70,
        corruptions=["fog"],
        severities=1,
        audit=False,
        results=results,
    )
    store = Store(results)
    cells = [cell for run in store.runs() for cell in store.cells(run.run_id)]
    return rows, {cell.spec.cell_id: store.read_samples(cell) for cell in cells}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, Any]]:
    return outcomes(given(), tmp_path_factory.mktemp("given"))


EVALUATED = ("TensorDataset", "shuffled DataLoader", "PIL items", "Hugging Face")


@pytest.mark.parametrize("name", EVALUATED)
def test_evaluate_gives_the_numbers_of_the_same_images_as_a_data_set(
    name: str, expected: tuple[pd.DataFrame, dict[str, Any]], tmp_path: Path
) -> None:
    rows, samples = outcomes(SOURCES[name](), tmp_path)
    assert rows["status"].tolist() == ["ok"] * 4
    assert rows["acc"].tolist() == expected[0]["acc"].tolist()
    assert 0 < rows["acc"].min() < rows["acc"].max() < 1, "a test of nothing otherwise"
    assert samples == expected[1]
    assert len(samples) == 4
    assert rows["leaked"].isna().all(), "without training images the count is unknown"


def to_tensors(batch: dict[str, list[Any]]) -> dict[str, Any]:
    images = [torch.tensor(np.array(image)).float()[None] / 255 for image in batch["image"]]
    return {"pixel_values": images, "labels": batch["label"]}


def test_images_of_the_datasets_package() -> None:
    datasets = pytest.importorskip("datasets", reason="the package `datasets` is not installed")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("0123456789"))})
    columns = {"image": [pil(i) for i in range(COUNT)], "label": LABELS.tolist()}
    whole = datasets.Dataset.from_dict(columns, features=features)
    both = datasets.DatasetDict(train=whole.select(range(TRAIN)), test=whole)
    tensors = whole.with_transform(to_tensors)
    for source in (whole, both, tensors, whole.to_iterable_dataset(), DataLoader(tensors, 16, shuffle=True)):
        data = as_dataset(source)
        assert data.num_classes == 10
        assert not data.notes, "the classes are declared"
        assert data.test.sha == given().test.sha
    assert len(as_dataset(both).train) == TRAIN


def test_training_images_of_any_form_are_counted(tmp_path: Path) -> None:
    for source in (
        as_dataset(SOURCES["tensors"](), train=Items(item, TRAIN), num_classes=10),
        {"test": SOURCES["Hugging Face"](), "train": DataLoader(Items(item, TRAIN), 8, shuffle=True)},
    ):
        rows = evaluate(Linear(), name="linear", dataset=source, attacks="none", corruptions="none", audit=False)
        assert rows["leaked"].tolist() == [TRAIN]
    assert as_dataset(HuggingFace(), train=HuggingFace(TRAIN)).mean[0] == pytest.approx(
        PIXELS[:TRAIN].mean() / 255, abs=1e-4
    )


def test_without_training_images_there_are_no_moments() -> None:
    with pytest.raises(BenchError, match="the train split has no images to measure mean and deviation on"):
        _ = as_dataset(HuggingFace()).moments


def test_nothing_is_trained_without_training_images(tmp_path: Path, bench: Callable[..., Any]) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    shown = bench("run", "--plugin", plugin, "--models", "resnet18", "--variants", "baseline", "--dataset", "untrained",
                  "--results", tmp_path / "results")  # fmt: skip
    assert shown.code == 2, shown.err
    assert "untrained has no training images; give it some" in shown.err
    assert "Traceback" not in shown.err


PLUGIN = """
import dataclasses
import torch
from bench.data import DATASETS
from bench.data.from_python import as_dataset

images, labels = torch.ones(4, 3, 8, 8), [0, 1, 0, 1]
load = lambda request: as_dataset((images, labels), name="untrained")
DATASETS.register("untrained", dataclasses.replace(DATASETS.get("digits"), load=load, num_classes=2), origin=__file__)
"""


def test_an_empty_test_split_is_still_refused() -> None:
    full = array_split("train", PIXELS, LABELS)
    with pytest.raises(BenchError, match="own: the test split has no images"):
        check_dataset(Dataset("own", full, array_split("test", PIXELS[:0], LABELS[:0]), 10, 8, official=False))


class Named(Items):
    classes = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l")


@pytest.mark.parametrize(
    "source",
    [
        Named(item),
        Subset(Named(item), range(COUNT)),
        ConcatDataset([Subset(Named(item), range(9))] * 2),
        DataLoader(Subset(Named(item), range(9)), 4, shuffle=True),
    ],
)
def test_class_names_give_the_number_of_classes(source: Any) -> None:
    data = as_dataset(source)
    assert data.num_classes == 12
    assert data.notes == ()
    assert as_dataset(source, num_classes=11).num_classes == 11


def test_without_class_names_the_rows_say_where_their_number_is_from() -> None:
    data = as_dataset((FLOATS, LABELS))
    assert (data.num_classes, len(data.notes)) == (10, 1)
    assert data.notes[0].startswith("10 classes, by the largest label; as_dataset(…, num_classes=…)")
    with_train = as_dataset((FLOATS[:1], [0]), train=(FLOATS, LABELS))
    assert with_train.num_classes == 10
    assert as_dataset((FLOATS, LABELS), num_classes=10).notes == ()


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


class Noisy(Items):
    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        noise = torch.Generator().manual_seed(0)
        super().__init__(
            lambda i: (change(FLOATS[i]) if torch.rand((), generator=noise) < 0.5 else FLOATS[i], LABELS[i])
        )


def bad_item(index: int, image: Any) -> Items:
    return Items(lambda i: (image if i == index else FLOATS[i], LABELS[i]))


def square(channels: int, side: int = 8) -> Tensor:
    return torch.zeros(channels, side, side)


def broken(index: int) -> Any:
    raise OSError("disk full")


BAD: dict[str, tuple[Any, str]] = {
    "other size": (bad_item(70, square(1, 9)), "own: test image 70 has 9×9 pixels, those before it have 8×8; .*Resize"),
    "not square": (bad_item(0, torch.zeros(1, 8, 9)), "own: test image 0 has 9×8 pixels; .*CenterCrop"),
    "not square, HWC": ((np.zeros((2, 8, 9, 3), np.uint8), [0, 1]), "own: test image 0 has 9×8 pixels"),
    "four channels": (
        (torch.zeros(2, 4, 8, 8), [0, 1]),
        r"image 0 has shape \(4, 8, 8\); 1 or 3 channels.*convert\('RGB'\)",
    ),
    "two channels": ((torch.zeros(2, 8, 8, 2), [0, 1]), r"image 0 has shape \(8, 8, 2\); 1 or 3 channels"),
    "grey among colours": (bad_item(3, square(3)), r"image 3 has 3 channels, those before it have 1.*convert\('RGB'\)"),
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
    "one class": ((FLOATS, LABELS * 0), "own: 1 class found; a classifier needs at least 2"),
    "empty tensors": ((FLOATS[:0], LABELS[:0]), "own: test images: the source is empty"),
    "empty data set": (Items(item, 0), "own: test images: the source is empty"),
    "empty stream": (iter(()), "own: test images: the source is empty"),
    "empty loader": (DataLoader(Items(item, 0)), "own: test images: the source is empty"),
    "empty mapping": ({}, "own: the split 'test' or 'validation' is needed, and the source has none"),
    "training split only": ({"train": HuggingFace()}, r"is needed, and the source has 'train'; give .* source\['…'\]"),
    "random flip": (Noisy(lambda image: image.flip(-1)), "own: test images differ between two reads; remove random"),
    "random flip in a loader": (DataLoader(Noisy(lambda x: x.flip(-1)), 16), "differ between two reads"),
    "random noise": (Noisy(lambda image: image * 0.99), "differ between two reads"),
    "random size": (Noisy(lambda image: image[:, :7, :7]), "image . has .×. pixels, those before it have"),
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
    "own batches": (DataLoader(Items(item), batch_sampler=[[0, 1], [2]]), "draws them with a list"),
    "three entries": (Items(lambda i: (*item(i), i)), r"own: test items have 3 entries; \(image, label\) is needed"),
    "image only": (Items(lambda i: FLOATS[i]), "own: test items have the type Tensor"),
    "other keys": (Items(lambda i: {"photo": 1, "label": 0}), "items have the keys photo, label; .*rename the columns"),
    "batch with other labels": (
        DataLoader(Items(item), 16, collate_fn=lambda items: (FLOATS[:16], LABELS[:3])),
        "own: test labels are 3 for 16 images",
    ),
    "images only": (FLOATS, r"own: test images are a Tensor without labels; give a tuple \(images, labels\)"),
    "text": ("digits", "own: test images: dataset is of type str; give the name of a data set"),
    "nothing": (None, "dataset is of type NoneType"),
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


def test_the_example_of_the_readme() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.+?)```", text, re.DOTALL) if "as_dataset(" in block)
    names: dict[str, Any] = {"my_module": Linear(), "test_set": HuggingFace(), "train_set": Items(item, TRAIN)}
    exec(code, names)
    assert names["rows"]["status"].tolist() == ["ok"] * len(names["rows"])
    assert set(names["rows"]["leaked"]) == {TRAIN}
