"""Rows say which of their images were trained on, and the list of them is to be had."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from records import cell_record, run_record
from torch import nn

from bench.api import evaluate
from bench.core.records import EvalRecord
from bench.core.seals import sealed
from bench.data import DataRequest, Dataset, load_dataset
from bench.data.split import array_split
from bench.results.record_files import dump_record, parse_record

Bench = Callable[..., Any]


class Grey(nn.Module):
    """Two classes, by brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = self.scale * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-score, score], dim=1)


def leaky(*, notes: tuple[str, ...] = ()) -> Dataset:
    """Ten test images, of which the first four are training images."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), np.uint8)
    labels = np.arange(30) % 2
    train, test = array_split("train", pixels[:20], labels[:20]), array_split("test", pixels[16:26], labels[16:26])
    return Dataset("leaky", train, test, 2, 8, False, notes=notes)


def test_every_row_says_what_leaked() -> None:
    table = evaluate(
        Grey(),
        name="grey",
        dataset=leaky(),
        attacks=["fgsm"],
        eps=["0.1"],
        corruptions=["fog"],
        severities=1,
        audit="none",
    )
    assert table["leaked"].tolist() == [4] * 3
    assert table["notes"].str.contains("copies among the 10 test images: 4 also in the training split").all()
    assert table["normalization"].isna().all()


def test_a_second_evaluation_does_not_search_again() -> None:
    data, reads = leaky(), []

    def read(indices: np.ndarray) -> np.ndarray:
        reads.append(len(indices))
        return data.train.read(indices)

    watched = replace(data, name="watched", train=replace(data.train, read=read, sha="only here"))
    for _ in range(2):
        table = evaluate(Grey(), name="grey", dataset=watched, attacks="none", corruptions="none", audit="none")
        assert table["leaked"].tolist() == [4]
        assert table["notes"].str.contains("4 also in the training split").all()
    assert reads == [20, 20, 20], "once for copies, and once per evaluation for the largest pixel"


def test_rows_of_a_part_count_their_own_images() -> None:
    data = leaky()
    table = evaluate(Grey(), name="grey", dataset=data, attacks="none", corruptions="none", limit=5, audit="none")
    from bench.data.split import take

    expected = sum(index < 4 for index in take(data.test, 5))
    assert table["leaked"].tolist() == [expected]


def test_nothing_leaks_in_digits() -> None:
    table = evaluate(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="linear", attacks="none", corruptions="none",
                     limit=20, audit="none")  # fmt: skip
    assert table["leaked"].tolist() == [0]
    assert not table["notes"].str.contains("copies").any()


class Broken(Grey):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")


def test_failed_cells_and_notes_of_the_data_set_too() -> None:
    data = leaky(notes=("2 files left out: a.txt, b.txt",))
    table = evaluate(Broken(), name="b", dataset=data, attacks=["fgsm"], eps=["0.1"], corruptions="none", audit="none")
    assert table["status"].tolist() == ["failed", "failed"]
    assert table["leaked"].tolist() == [4, 4]
    assert table["notes"].str.contains("2 files left out: a.txt, b.txt; copies among").all()


def test_skipped_cells_have_the_notes_and_no_count(bench: Bench, plugin: Path, root: Path, tmp_path: Path) -> None:
    """Their images are not even read: none of them was evaluated."""
    (root / "train/a/readme.txt").write_text("no image")
    (root / "test/a/3.png").write_bytes((root / "test/a/3.png").read_bytes()[:60])
    outcome = bench(
        "run", "--models", "tiny", "--plugin", plugin, "--variants", "exploding", "--dataset", "imagefolder",
        "--epochs", 1, "--data-dir", root, "--attacks", "none", "--corruptions", "none", "--results", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == 3
    with (tmp_path / "out/results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["status"], row["leaked"]) == ("skipped", "")
    assert row["notes"].endswith("; 1 file left out: train/a/readme.txt")


def test_older_records_are_read() -> None:
    record = cell_record(run_record(), "clean", [True])
    older = json.loads(dump_record(replace(record, leaked=3)))
    del older["leaked"]
    assert parse_record(EvalRecord, json.dumps(sealed(older)).encode(), where="here").leaked is None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    from PIL import Image

    names = {"train/a/1.png": 100, "train/b/2.png": 101, "test/a/3.png": 100, "test/b/4.png": 103, "test/b/5.bmp": 100}
    for name, value in names.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return tmp_path / "data"


def test_the_list_on_request(bench: Bench, root: Path) -> None:
    """test/b/5.bmp is training image a/1 under another label."""
    outcome = bench("show", "duplicates", "--dataset", "imagefolder", "--data-dir", root)
    assert [line.split() for line in outcome.out.splitlines()[1:]] == [
        ["1", "test", "test/a/3.png", "0", "yes"],
        ["1", "test", "test/b/5.bmp", "1", "yes"],
        ["1", "train", "train/a/1.png", "0", "yes"],
    ]
    assert "of 3 test images 2 are in the training split, 1 repeat other test images, 2 have a copy" in outcome.err


def test_the_list_as_data(bench: Bench, root: Path) -> None:
    outcome = bench("show", "duplicates", "--dataset", "imagefolder", "--data-dir", root, "--json")
    found = json.loads(outcome.out)
    assert (found["n_test"], found["leaked"], found["repeated"], found["contradicted"]) == (3, 2, 1, 2)
    assert found["groups"][0]["train"] == [{"sample_id": "train/a/1.png", "label": 0}]


def test_the_list_of_a_data_set_without_copies(bench: Bench) -> None:
    outcome = bench("show", "duplicates", "--dataset", "digits")
    assert (outcome.code, outcome.out) == (0, "")
    assert "of 500 test images 0 are in the training split" in outcome.err


def test_the_list_needs_a_data_set(bench: Bench) -> None:
    outcome = bench("show", "duplicates")
    assert outcome.code == 2
    assert "no data set given; write --dataset" in outcome.err


def test_the_folders_own_notes_reach_the_rows(root: Path) -> None:
    (root / "train/a/readme.txt").write_text("no image")
    data = load_dataset("imagefolder", DataRequest(root))
    table = evaluate(Grey(), name="grey", dataset=data, attacks="none", corruptions="none", audit="none")
    assert "1 file left out: train/a/readme.txt; copies among the 3 test images" in table["notes"][0]
