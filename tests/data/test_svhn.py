"""SVHN's MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from bench.core.errors import BenchError
from bench.data import DataRequest, load_dataset

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 32, 32, 3), np.uint8)  # rows, columns, colours
CLASSES = np.arange(12, dtype=np.uint8) % 10 + 1  # the digit 0 is class 10


def write(folder: Path, **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"X": IMAGES.transpose(1, 2, 3, 0), "y": CLASSES[:, None]} | changed
    for name in ("train", "test"):
        savemat(folder / f"{name}_32x32.mat", {k: v for k, v in content.items() if v is not None})
    return folder


def load(data_dir: Path) -> Any:
    return load_dataset("svhn", DataRequest(data_dir))


@pytest.mark.parametrize("below", [".", "SVHN", "svhn"])
def test_what_was_written_is_read(tmp_path: Path, below: str) -> None:
    write(tmp_path / below)
    data = load(tmp_path)
    assert np.array_equal(data.test.read(np.arange(12)).transpose(0, 2, 3, 1), IMAGES)
    assert data.test.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert (data.official, data.num_classes, data.image_size) == (False, 10, 32)


def test_rows_columns_and_colours_keep_their_places(tmp_path: Path) -> None:
    image = load(write(tmp_path)).test.read(np.array([5]))[0]
    assert image[1, 3, 7] == IMAGES[5, 3, 7, 1]
    assert len({image[1, 3, 7], image[1, 7, 3], image[2, 3, 7]}) == 3, "the check cannot see a transposition"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"y": None}, "needs the variables X and y"),
        ({"X": IMAGES}, r"X has shape \(12, 32, 32, 3\)"),
        ({"X": IMAGES.transpose(1, 2, 3, 0) / 255}, "type float64"),
        ({"y": CLASSES[1:]}, "holds 12 images but 11 labels"),
        ({"y": CLASSES + 1}, "label 11, outside 0…9"),
    ],
)
def test_files_with_other_content(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        load(write(tmp_path, **changed))


@pytest.mark.parametrize("content", [b"", b"not a mat file" * 20])
def test_no_mat_file(tmp_path: Path, content: bytes) -> None:
    (write(tmp_path) / "test_32x32.mat").write_bytes(content)
    with pytest.raises(BenchError, match=r"test_32x32\.mat is not a readable MATLAB file"):
        load(tmp_path)


def test_a_cut_mat_file(tmp_path: Path) -> None:
    path = write(tmp_path) / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BenchError, match=r"train_32x32\.mat"):
        load(tmp_path)
