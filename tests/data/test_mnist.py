"""IDX files, plain and compressed, whole and damaged, through the loaders of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data import DataRequest, load_dataset
from bench.data.checksums import IDX_SHA256
from bench.data.split import measure_moments, read_checked

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.integers(0, 256, (30, 28, 28), np.uint8), "t10k": RNG.integers(0, 256, (20, 28, 28), np.uint8)}
LABELS = {"train": np.arange(30, dtype=np.uint8) % 10, "t10k": np.arange(20, dtype=np.uint8)[::-1] % 10}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, *, gz: bool = False, **changed: bytes) -> Path:
    """The four files; ``changed`` replaces one by its name with underscores, such as ``t10k_labels``."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", IMAGES[prefix]), ("labels-idx1", LABELS[prefix])):
            content = changed.get(f"{prefix}_{kind[:6]}", idx(array))
            name = f"{prefix}-{kind}-ubyte"
            (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(content) if gz else content)
    return folder


def load(data_dir: Path, name: str = "mnist") -> Any:
    return load_dataset(name, DataRequest(data_dir))


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_what_was_written_is_read(tmp_path: Path, name: str, gz: bool) -> None:
    write(tmp_path / ("MNIST" if name == "mnist" else "FashionMNIST") / "raw", gz=gz)
    data = load(tmp_path, name)
    for split, prefix in ((data.train, "train"), (data.test, "t10k")):
        everything = np.arange(len(split))
        assert np.array_equal(read_checked(split, everything, dataset=name), IMAGES[prefix][:, None])
        assert np.array_equal(split.labels, LABELS[prefix])
        assert split.labels.dtype == np.int64
    assert (data.name, data.official, data.num_classes, data.image_size) == (name, False, 10, 28)
    assert (data.mean, data.std) == (((0.1307,), (0.3081,)) if name == "mnist" else ((0.286,), (0.353,)))
    assert data.test.ids[:2] == ["test/00000", "test/00001"]


def test_rows_are_rows(tmp_path: Path) -> None:
    data = load(write(tmp_path))
    assert data.test.read(np.array([3]))[0, 0, 2, 5] == IMAGES["t10k"][3, 2, 5] != IMAGES["t10k"][3, 5, 2]


@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
def test_the_folder_may_be_given_at_any_depth(tmp_path: Path, below: str) -> None:
    write(tmp_path / below)
    assert len(load(tmp_path).test) == 20


def test_compression_does_not_change_the_hash(tmp_path: Path) -> None:
    plain, packed = (load(write(tmp_path / str(gz), gz=gz)) for gz in (False, True))
    assert (plain.train.sha, plain.test.sha) == (packed.train.sha, packed.test.sha)


def test_a_changed_pixel_or_label_changes_the_hash(tmp_path: Path) -> None:
    sha = load(write(tmp_path / "a")).test.sha
    images, labels = IMAGES["t10k"].copy(), LABELS["t10k"].copy()
    images[0, 0, 0] ^= 1
    labels[0] ^= 1
    assert load(write(tmp_path / "b", t10k_images=idx(images))).test.sha != sha
    assert load(write(tmp_path / "c", t10k_labels=idx(labels))).test.sha != sha


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_official_is_all_four_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gz: bool) -> None:
    plain = write(tmp_path / "plain")
    published = {name: hashlib.sha256((plain / name).read_bytes()).hexdigest() for name in IDX_SHA256["mnist"]}
    monkeypatch.setitem(IDX_SHA256, "mnist", published)
    assert load(write(tmp_path / "same", gz=gz)).official
    images = IMAGES["train"].copy()
    images[-1, -1, -1] ^= 1
    assert not load(write(tmp_path / "other", gz=gz, train_images=idx(images))).official
    with pytest.raises(BenchError, match="are those of mnist, not of fashion_mnist"):
        load(plain, "fashion_mnist")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"t10k_images": idx(IMAGES["t10k"])[:-1]},
            "t10k-images-idx3-ubyte is truncated: .* 20×28×28 bytes, but 15679",
        ),
        ({"t10k_labels": idx(LABELS["t10k"]) + b"x"}, "t10k-labels-idx1-ubyte is too long: .* 20 bytes, but 21 follow"),
        ({"train_images": idx(LABELS["train"])}, "train-images-idx3-ubyte starts with 00000801, but .* 00000803"),
        ({"train_images": b""}, "train-images-idx3-ubyte starts with nothing"),
        ({"train_images": b"\0\0\x08\x03\0\0"}, "the file is damaged or not an IDX file of this kind"),
        ({"train_images": b"\x1f\x8b\x08 nonsense"}, "train-images-idx3-ubyte is a damaged gzip file"),
        ({"t10k_labels": idx(LABELS["t10k"][1:])}, "holds 20 images but t10k-labels-idx1-ubyte 19 labels"),
        ({"t10k_labels": idx(LABELS["t10k"] + 1)}, "label 10, outside 0…9"),
        ({"train_images": idx(IMAGES["train"][:, 1:])}, "images of 27×28 pixels; 28×28 are needed"),
        ({"t10k_images": idx(IMAGES["t10k"][:0]), "t10k_labels": idx(LABELS["t10k"][:0])}, "the test split has no im"),
    ],
)
def test_damaged_files(tmp_path: Path, changed: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        load(write(tmp_path, **changed))


def test_a_cut_gzip_file(tmp_path: Path) -> None:
    path = write(tmp_path, gz=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BenchError, match=r"train-images-idx3-ubyte\.gz is a damaged gzip file"):
        load(tmp_path)


def test_the_real_fashion_mnist() -> None:
    if not (SHARED / "FashionMNIST" / "raw").is_dir():
        pytest.skip("needs Fashion-MNIST in ../shared/data")
    data = load(SHARED, "fashion_mnist")
    assert (data.official, len(data.train), len(data.test)) == (True, 60_000, 10_000)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    measured = measure_moments(data.train)
    assert abs(measured.mean[0] - data.mean[0]) < 2e-3
    assert abs(measured.std[0] - data.std[0]) < 2e-3
    with pytest.raises(BenchError, match="are those of fashion_mnist, not of mnist; use --dataset fashion_mnist"):
        load(SHARED / "FashionMNIST" / "raw", "mnist")
