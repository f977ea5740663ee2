"""Tensors, DataLoaders, torch and Hugging Face data sets as data sets to evaluate."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from python_sources import (
    COUNT,
    FLOATS,
    LABELS,
    PIXELS,
    TRAIN,
    HuggingFace,
    Items,
    Linear,
    Stream,
    channels_last,
    collate,
    item,
    pil,
)
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from bench.api import evaluate
from bench.core.errors import BenchError
from bench.data import Dataset
from bench.data.from_python import as_dataset
from bench.data.split import array_split, check_dataset
from bench.results.store import Store

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
        audit="none",
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
        rows = evaluate(Linear(), name="linear", dataset=source, attacks="none", corruptions="none", audit="none")
        assert rows["leaked"].tolist() == [TRAIN]
    assert as_dataset(HuggingFace(), train=HuggingFace(TRAIN)).mean[0] == pytest.approx(
        PIXELS[:TRAIN].mean() / 255, abs=1e-4
    )


def test_without_training_images_there_are_no_moments() -> None:
    with pytest.raises(BenchError, match="the train split has no images for computing mean and standard deviation"):
        _ = as_dataset(HuggingFace()).moments


def test_nothing_is_trained_without_training_images(tmp_path: Path, bench: Callable[..., Any]) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    shown = bench("run", "--plugin", plugin, "--models", "resnet18", "--variants", "baseline", "--dataset", "untrained",
                  "--results", tmp_path / "results")  # fmt: skip
    assert shown.code == 2, shown.err
    assert "untrained has no training images; add some" in shown.err
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


def test_the_example_of_the_readme() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.+?)```", text, re.DOTALL) if "as_dataset(" in block)
    names: dict[str, Any] = {"my_module": Linear(), "test_set": HuggingFace(), "train_set": Items(item, TRAIN)}
    exec(code, names)
    assert names["rows"]["status"].tolist() == ["ok"] * len(names["rows"])
    assert set(names["rows"]["leaked"]) == {TRAIN}
