"""Unbalanced and wrongly labelled data sets through the Python API: what the rows say, and what stays on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench import api
from bench.core.errors import BenchError
from bench.core.specs import DataSpec, EvalSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.split import Dataset, array_split, take
from bench.results.per_image import Sample
from bench.results.store import Store

SIDE = 4
evaluate = partial(api.evaluate, corruptions="none", audit="none", eps=["0.02"])


def dataset(counts: list[int], *, seed: int = 0, change: Callable[[Any], Any] = lambda labels: labels) -> Dataset:
    """Images whose mean tells the class, so that a linear model can know it."""
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, (len(labels), 3, SIDE, SIDE))
    pixels = ((labels + 1) / (len(counts) + 1))[:, None, None, None] + noise
    train, test = (array_split(name, pixels.astype(np.float32), change(labels)) for name in ("train", "test"))
    return Dataset("own", train, test, len(counts), SIDE, official=False)


def linear(weight: float, biases: list[float]) -> nn.Module:
    """Logit k = weight·(k+1)/(K+1)·mean + bias k: a constant answer where the biases outweigh it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, len(biases)))
    scale = torch.arange(1, len(biases) + 1)[:, None] / (len(biases) + 1)
    with torch.no_grad():
        model[1].weight.copy_(weight * scale.expand_as(model[1].weight) / (3 * SIDE**2))
        model[1].bias.copy_(torch.tensor(biases))
    return model


def knows(classes: int) -> nn.Module:
    """Nearest class mean, as a linear model."""
    centres = [(k + 1) / (classes + 1) for k in range(classes)]
    return linear(400.0, [-200.0 * centre**2 for centre in centres])


def test_a_limited_attack_estimates_the_accuracy_of_the_split() -> None:
    """A constant answer keeps its accuracy under attack: 95 % of the split, and of 40 images."""
    arguments = {"dataset": dataset([380, 20]), "attacks": "fgsm", "attack_limit": {"fgsm": 40}}
    rows = evaluate(linear(1e-3, [1.0, 0.0]), name="one", **arguments).set_index("attack")
    assert rows["n"].to_dict() == {"clean": 400, "fgsm": 40}
    assert rows["n_correct"].to_dict() == {"clean": 380, "fgsm": 38}
    assert rows["notes"]["fgsm"].startswith("40 of 400 test images, proportional to class")
    assert "proportional" not in rows["notes"]["clean"]


@pytest.mark.parametrize("says", [0, 1])
def test_a_constant_answer_has_no_place(tmp_path: Path, says: int, bench: Callable[..., Any]) -> None:
    model = linear(1e-3, [1.0 - says, float(says)])
    rows = evaluate(model, name="one", dataset=dataset([380, 20]), attacks="fgsm", results=tmp_path)
    assert "the same class" in rows.set_index("attack")["notes"]["clean"]
    assert bench("leaderboard", "--results", tmp_path).code == 0
    board = (tmp_path / "leaderboard.csv").read_text()
    assert "no better than chance" in board
    record = Store(tmp_path).cells(rows["run_id"][0])
    assert {cell.n_majority for cell in record} == {380}


def test_the_cell_stores_what_the_paired_test_needs(tmp_path: Path) -> None:
    """Class 0 has 95 of 100 images; the model is right on all 5 others, and on all of class 0 but the first two."""
    data = dataset([95, 5])
    first = torch.from_numpy(data.test.read(np.arange(2)))[:, 0, 0, 0]

    class Better(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            pixel = inputs[:, 0, 0, 0]
            return nn.functional.one_hot(((pixel > 0.5) | torch.isin(pixel, first)).long(), 2) + inputs.mean() * 0

    rows = evaluate(Better(), name="better", dataset=data, attacks="fgsm", results=tmp_path)
    cells = {cell.spec.is_clean: cell for cell in Store(tmp_path).cells(rows["run_id"][0])}
    clean = cells[True]
    assert (clean.n_correct, clean.n_majority, clean.n_correct_majority) == (98, 95, 93)
    assert cells[False].n_correct_majority is None
    assert "no better than chance (98 of 100 correct" in rows.set_index("attack")["notes"]["clean"], "5 gained, 2 lost"


def test_what_tells_the_classes_apart_has_a_place(tmp_path: Path) -> None:
    rows = evaluate(knows(3), name="knows", dataset=dataset([90, 40, 20]), attacks="fgsm", results=tmp_path)
    assert rows.set_index("attack")["acc"]["clean"] > 0.95
    assert "no better than chance" not in (tmp_path / "leaderboard.csv").read_text()


def test_accuracy_above_one_of_k_but_below_the_majority_is_chance(tmp_path: Path) -> None:
    """One of four classes has 70 % of the images; the model gives some of these another class by their first pixel."""

    class Guesses(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            odd = (inputs[:, 0, 0, 0] * 1e4).long() % 3 == 0
            return 9.0 * nn.functional.one_hot(odd.long(), 4) + inputs.mean((1, 2, 3))[:, None]

    data = dataset([70, 10, 10, 10])
    rows = evaluate(Guesses(), name="guesses", dataset=data, attacks="none", eps=[], results=tmp_path)
    assert 0.35 < rows["acc"][0] < 0.7
    assert "no better than chance" in (tmp_path / "leaderboard.csv").read_text()


BAD_LABELS: dict[str, Callable[[Any], Any]] = {
    "from one": lambda labels: labels + 1,
    "floats": lambda labels: labels.astype(np.float32),
    "one-hot": lambda labels: np.eye(3, dtype=np.int64)[labels],
    "ignored": lambda labels: np.where(np.arange(len(labels)) == 40, -100, labels),
    "strings": lambda labels: labels.astype(str),
    "a column": lambda labels: labels[:, None],
    "too few": lambda labels: labels[:-1],
}


@pytest.mark.parametrize("change", BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_leave_the_folder_as_it_was(
    tmp_path: Path, change: Callable[[Any], Any], bench: Callable[..., Any]
) -> None:
    arguments = {"attacks": "fgsm", "results": tmp_path / "out"}
    evaluate(knows(3), name="good", dataset=dataset([9, 9, 9]), **arguments)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(BenchError, match=r"^own: ") as caught:
        evaluate(knows(3), name="bad", dataset=dataset([30, 20, 10], change=change), **arguments)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    assert bench("leaderboard", "--results", tmp_path / "out").code == 0


def test_bad_pixels_leave_nothing_behind(tmp_path: Path) -> None:
    """Also where they are not among the images that a model is tried on first."""
    good = dataset([30, 20, 10])
    pixels = good.test.read(np.arange(60)).copy()
    last = int(np.setdiff1d(np.arange(60), take(good.test, 59))[0])
    pixels[last, 0, 0, 0] = np.nan
    bad = Dataset("own", good.train, array_split("test", pixels, good.test.labels), 3, SIDE, official=False)
    with pytest.raises(BenchError, match=f"image 'test/{last:05d}' has NaN or infinite pixels"):
        evaluate(knows(3), name="bad", dataset=bad, attacks="fgsm", results=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_what_is_no_data_set_is_one_sentence() -> None:
    for given in (Path("digits"), 3, None):
        with pytest.raises(BenchError, match="data set is of type"):
            evaluate(knows(3), name="x", dataset=given, attacks="fgsm")


@pytest.mark.parametrize("outputs", [2, 4])
def test_a_model_of_another_number_of_classes_fails_its_cells(outputs: int) -> None:
    rows = evaluate(knows(outputs), name="m", dataset=dataset([9, 9, 9]), attacks="fgsm")
    assert set(rows["reason"]) == {"wrong_shape"}
    assert rows["acc"].isna().all()


def test_a_new_sample_is_another_cell_and_whole_splits_are_the_same() -> None:
    """Outcomes stored for the balanced sample must not pass for those of the proportional one, nor vice versa."""
    run = {"run_id": "r", "data_sha": "d", "attack": None, "protocol": "standard", "batch_size": 8, "seed": 0}
    old, new = (EvalSpec(**run, limit=40, sampling=version) for version in (1, 2))
    assert old.cell_id != new.cell_id
    data = {"name": "own", "train_sha": "t", "num_classes": 3, "image_size": 4, "train_limit": 40}
    specs = [
        TrainSpec(
            data=DataSpec(**data, sampling=version), model=ModelSpec(name="m"), variant="baseline",
            variant_spec=VariantSpec(), recipe=Recipe(epochs=1), seed=0,
        )
        for version in (1, 2)
    ]  # fmt: skip
    assert specs[0].run_id != specs[1].run_id
    assert specs[0].config_sha != specs[1].config_sha


@pytest.mark.parametrize(
    ("counts", "limit", "versions"), [([20, 20], 10, {1}), ([30, 10], 10, {2}), ([30, 10], 40, {1})]
)
def test_the_version_of_the_sample_counts_where_it_makes_a_difference(
    tmp_path: Path, counts: list[int], limit: int, versions: set[int]
) -> None:
    rows = evaluate(knows(2), name="m", dataset=dataset(counts), attacks="fgsm", limit=limit, results=tmp_path)
    assert {cell.spec.sampling for cell in Store(tmp_path).cells(rows["run_id"][0])} == versions


def test_samples_that_could_not_be_read_are_not_written(tmp_path: Path) -> None:
    rows = evaluate(knows(2), name="m", dataset=dataset([20, 20]), attacks="none", eps=[], results=tmp_path)
    store = Store(tmp_path)
    (cell,) = store.cells(rows["run_id"][0])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    good = store.read_samples(cell)
    for bad in ([Sample(s.sample_id, float(s.label), s.clean_pred, s.adv_pred, None) for s in good], good[:-1]):  # type: ignore[arg-type]
        with pytest.raises(BenchError):
            store.write_cell(cell, bad)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
