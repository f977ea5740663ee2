"""Error messages for files that are not where they should be."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.data import DATASETS, DataRequest, download, load_dataset
from bench.data.source import Layout, find_files

FROM_FILES = [name for name in DATASETS if name != "digits"]
ARRAYS = [name for name in DATASETS if name != "imagefolder"]
REAL_DOWNLOAD = download.download  # before any fixture replaces it


@pytest.mark.parametrize("name", FROM_FILES)
def test_no_data_dir(name: str) -> None:
    with pytest.raises(BenchError, match=f"{name} is read from files; give --data-dir DIR, a folder that holds "):
        load_dataset(name, DataRequest())


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_data_dir_that_is_not_there(name: str, tmp_path: Path, downloads: list[Any]) -> None:
    with pytest.raises(BenchError, match=f"--data-dir .*/nowhere does not exist; {name} needs a folder"):
        load_dataset(name, DataRequest(tmp_path / "nowhere"))
    assert not downloads


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_data_dir_that_is_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=f"--data-dir .*/file is a file; {name} needs a folder"):
        load_dataset(name, DataRequest(tmp_path / "file"))


@pytest.mark.parametrize(
    ("name", "class_name", "advice"),
    [
        (
            "mnist",
            "MNIST",
            r"put train-images-idx3-ubyte, .* \(plain or \.gz\) into .*/MNIST/raw",
        ),
        ("fashion_mnist", "FashionMNIST", r"into .*/FashionMNIST/raw\."),
        ("cifar10", "CIFAR10", r"put data_batch_1, .*, data_batch_5, test_batch into .*/cifar-10-batches-py\."),
        ("cifar100", "CIFAR100", r"put train, test into .*/cifar-100-python\."),
        ("svhn", "SVHN", r"put train_32x32\.mat, test_32x32\.mat into "),
    ],
)
def test_an_empty_data_dir_is_filled_or_explained(
    name: str, class_name: str, advice: str, tmp_path: Path, downloads: list[Any]
) -> None:
    with pytest.raises(BenchError, match=rf"the download failed \(no network\); .*{advice}"):
        load_dataset(name, DataRequest(tmp_path))
    assert downloads == [(class_name, tmp_path)]


LAYOUT = Layout("toys", "Toys", ("deep/raw", "."), ("a", "b"), ("", ".gz"))


def test_missing_files_are_named_and_never_downloaded_over(tmp_path: Path, downloads: list[Any]) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(BenchError, match=rf"toys: {tmp_path} lacks b; put a, b \(plain or \.gz\) there"):
        find_files(LAYOUT, tmp_path)
    assert not downloads


def test_folders_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "deep" / "raw").mkdir(parents=True)
    (tmp_path / "deep" / "raw" / "a").touch()
    (tmp_path / "b").touch()
    with pytest.raises(BenchError, match="deep/raw lacks b"):
        find_files(LAYOUT, tmp_path)


def test_a_plain_file_is_preferred_to_a_compressed_one(tmp_path: Path) -> None:
    for name in ("a", "a.gz", "b.gz"):
        (tmp_path / name).touch()
    assert find_files(LAYOUT, tmp_path) == {"a": tmp_path / "a", "b": tmp_path / "b.gz"}


def test_a_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(class_name: str, root: Path) -> None:
        (root / "deep" / "raw").mkdir(parents=True)
        for name in "ab":
            (root / "deep" / "raw" / name).write_text(class_name)

    monkeypatch.setattr(download, "download", fetch)
    assert find_files(LAYOUT, tmp_path)["b"].read_text() == "Toys"


def test_torchvision_is_asked_with_a_time_limit_that_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def dataset(**options: Any) -> None:
        asked.append((options, socket.getdefaulttimeout()))

    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=SimpleNamespace(SVHN=dataset)))
    REAL_DOWNLOAD("SVHN", tmp_path)
    shared = {"root": str(tmp_path), "download": True}
    assert asked == [(shared | {"split": s}, download.TIMEOUT) for s in ("train", "test")]
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", ARRAYS)
def test_only_an_imagefolder_is_resized_or_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"--image-size 224 does not fit {name}, whose images are "):
        load_dataset(name, DataRequest(tmp_path, 224))
    with pytest.raises(BenchError, match=f"{name} cannot be renamed to 'mine'"):
        load_dataset(name, DataRequest(tmp_path, None, "mine"))


def test_the_native_size_may_be_said() -> None:
    assert load_dataset("digits", DataRequest(None, 8, "digits")).image_size == 8
