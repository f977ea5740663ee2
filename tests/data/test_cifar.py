"""Images written in CIFAR's own batch format, by any Python and any numpy, through the loaders."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data import DataRequest, cifar, load_dataset
from bench.data.checksums import CIFAR10_MD5, CIFAR100_MD5, SVHN_MD5

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 32, 32, 3), np.uint8)  # rows, columns, colours: as one would look at them
LABELS = [int(i) for i in RNG.permutation(60) % 10]
FILES = tuple(CIFAR10_MD5)


def batch(index: int) -> dict[Any, Any]:
    """Ten images in the format's own layout: red plane, green plane, blue plane, each row by row."""
    chosen = slice(10 * index, 10 * index + 10)
    rows = [np.concatenate([image[:, :, c].ravel() for c in range(3)]) for image in IMAGES[chosen]]
    return {"batch_label": f"batch {index}", "data": np.stack(rows), "labels": LABELS[chosen], "filenames": ["x"] * 10}


def write(folder: Path, *, protocol: int = 2, **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(FILES):
        (folder / name).write_bytes(pickle.dumps(changed.get(name, batch(index)), protocol))
    return folder


def load(data_dir: Path, name: str = "cifar10") -> Any:
    return load_dataset(name, DataRequest(data_dir))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_was_written_is_read(tmp_path: Path, protocol: int) -> None:
    write(tmp_path / "cifar-10-batches-py", protocol=protocol)
    data = load(tmp_path)
    assert np.array_equal(data.train.read(np.arange(50)).transpose(0, 2, 3, 1), IMAGES[:50])
    assert np.array_equal(data.test.read(np.array([9, 0])).transpose(0, 2, 3, 1), IMAGES[[59, 50]])
    assert [*data.train.labels, *data.test.labels] == LABELS
    assert (data.official, data.num_classes, data.image_size) == (False, 10, 32)
    assert data.train.ids[49] == "train/00049"


def test_rows_columns_and_colours_keep_their_places(tmp_path: Path) -> None:
    image = load(write(tmp_path)).test.read(np.array([0]))[0]
    assert image[2, 3, 7] == IMAGES[50, 3, 7, 2]
    assert len({image[2, 3, 7], image[2, 7, 3], image[0, 3, 7]}) == 3, "the check cannot see a transposition"


def test_a_batch_as_python_2_wrote_it(tmp_path: Path) -> None:
    """The official files: text for bytes, numpy.core for numpy._core."""
    raw = batch(5)["data"].tobytes().decode("latin1").encode("raw_unicode_escape")
    state = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I10\nI3072\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nT"
    )
    stream = b"(dS'data'\n" + state + len(raw).to_bytes(4, "little") + raw + b"tbsS'labels'\n(l"
    stream += b"".join(b"I%d\na" % label for label in LABELS[50:]) + b"s."
    (write(tmp_path) / "test_batch").write_bytes(stream)
    data = load(tmp_path)
    assert np.array_equal(data.test.read(np.arange(10)).transpose(0, 2, 3, 1), IMAGES[50:])
    assert data.test.labels.tolist() == LABELS[50:]


@pytest.mark.parametrize(
    "labels",
    [np.array(LABELS[50:]), [np.int64(v) for v in LABELS[50:]], np.array(LABELS[50:], ">i2")],
    ids=["array", "numpy-scalars", "big-endian"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_labels_may_be_a_list_or_an_array(tmp_path: Path, labels: Any, protocol: int) -> None:
    write(tmp_path, protocol=protocol, test_batch=batch(5) | {"labels": labels})
    assert load(tmp_path).test.labels.tolist() == LABELS[50:]


def test_keys_may_be_bytes(tmp_path: Path) -> None:
    write(tmp_path, test_batch={key.encode(): value for key, value in batch(5).items()})
    assert len(load(tmp_path).test) == 10


def test_a_column_major_array(tmp_path: Path) -> None:
    write(tmp_path, test_batch=batch(5) | {"data": np.asfortranarray(batch(5)["data"])})
    assert np.array_equal(load(tmp_path).test.read(np.arange(10)).transpose(0, 2, 3, 1), IMAGES[50:])


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, index in (("train", 0), ("test", 5)):
        labels = {"fine_labels": [90 + i for i in range(10)], "coarse_labels": [0] * 10}
        (folder / name).write_bytes(pickle.dumps({"data": batch(index)["data"]} | labels))
    data = load(tmp_path, "cifar100")
    assert (data.num_classes, data.official) == (100, False)
    assert data.test.labels.tolist() == list(range(90, 100))
    assert np.array_equal(data.test.read(np.arange(10)).transpose(0, 2, 3, 1), IMAGES[50:])


def test_official_is_every_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    md5 = {name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in FILES}
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, md5=md5))
    assert load(tmp_path).official
    write(tmp_path, data_batch_5=batch(4) | {"batch_label": "other"})
    assert not load(tmp_path).official


def test_the_checksums_are_those_of_torchvision() -> None:
    spec = find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    sources = [(Path(spec.origin).parent / "datasets" / f).read_text() for f in ("cifar.py", "svhn.py")]
    for table in (CIFAR10_MD5, CIFAR100_MD5, SVHN_MD5):
        for name, md5 in table.items():
            assert any(f'"{name}"' in text and f'"{md5}"' in text for text in sources), name


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ([1, 2], "test_batch is not a CIFAR batch: it has no 'data'"),
        ({"data": batch(5)["data"]}, "it has no 'labels'"),
        (batch(5) | {"data": "text"}, "it has no 'data'"),
        (batch(5) | {"data": batch(5)["data"][:, 1:]}, r"shape \(10, 3071\) and type uint8; \(N, 3072\)"),
        (batch(5) | {"data": batch(5)["data"].astype(np.float32)}, "type float32"),
        (batch(5) | {"labels": LABELS[50:-1]}, "holds 10 images but 9 labels"),
        (batch(5) | {"labels": ["cat"] * 10}, "'labels' must be a list of whole numbers"),
        (batch(5) | {"labels": np.ones(10)}, "'labels' must be a list of whole numbers"),
        (batch(5) | {"labels": [10] * 10}, "label 10, outside 0…9"),
        (batch(5) | {"labels": [-1] * 10}, "label -1, outside 0…9"),
    ],
)
def test_batches_with_other_content(tmp_path: Path, changed: Any, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        load(write(tmp_path, test_batch=changed))
