"""Data files that would expand to far more than their size, and pickles that would fill the memory."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from bounds import bounded
from scipy.io import savemat

from bench.core import limits
from bench.core.errors import BenchError
from bench.data import plain_pickle, svhn
from bench.data.corrupted.arrays import map_array
from bench.data.mnist import read_idx_bytes
from bench.data.plain_pickle import read_plain_pickle

MB = 10**6


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", MB)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 1)


@pytest.mark.usefixtures("small")
def test_a_compressed_idx_file(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(MB)))
    assert len(read_idx_bytes(path)) == MB
    path.write_bytes(gzip.compress(bytes(MB + 1)))
    with (
        bounded(growth=64 * MB),
        pytest.raises(BenchError, match="decompresses to more than 1 MB"),
    ):
        read_idx_bytes(path)


def matlab(path: Path, **variables: object) -> Path:
    savemat(path, variables, do_compression=True)
    return path


@pytest.mark.usefixtures("small")
def test_a_compressed_matlab_file(tmp_path: Path) -> None:
    images = np.zeros((32, 32, 3, 300), np.uint8)
    assert svhn._read_mat(matlab(tmp_path / "a.mat", X=images, y=np.ones(300)))["X"].shape == images.shape
    path = matlab(tmp_path / "b.mat", X=np.zeros((32, 32, 3, 330), np.uint8))
    with (
        bounded(growth=64 * MB),
        pytest.raises(BenchError, match=r"b\.mat: it decompresses to more than"),
    ):
        svhn._read_mat(path)
    path = matlab(tmp_path / "c.mat", X=images, another=images)  # counted together
    with pytest.raises(BenchError, match="decompresses to more than"):
        svhn._read_mat(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("value", [{"a": 1}, np.array([[1], ["x"]], object), "text"])
def test_a_matlab_file_of_other_variables_than_numbers(compressed: bool, value: object, tmp_path: Path) -> None:
    """Cells within cells would overflow the stack of scipy's reader."""
    savemat(tmp_path / "a.mat", {"X": value}, do_compression=compressed)
    with pytest.raises(BenchError, match="has a variable that is not a numeric array"):
        svhn._read_mat(tmp_path / "a.mat")


def test_a_matlab_file_of_many_empty_variables(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b" " * 124 + b"\0\1IM" + struct.pack("<IIIIII", 14, 16, 6, 8, 9, 0) * 10**5)
    with bounded(seconds=2), pytest.raises(BenchError, match="100 variables"):
        svhn._read_mat(path)


@pytest.mark.parametrize("size", [0xFFFFFFF0, 2**31 - 8])
def test_a_matlab_file_that_declares_gigabytes(size: int, tmp_path: Path) -> None:
    inner = struct.pack("<IIIIII", 14, size, 6, 8, 9, 0) + struct.pack("<IIII", 5, 8, 1, size)
    inner += struct.pack("<II", 1, ord("X")) + struct.pack("<II", 2, size)
    packed = zlib.compress(inner)
    for kind, content in ((15, packed), (14, inner[8:])):
        path = tmp_path / f"{kind}.mat"
        path.write_bytes(b" " * 124 + b"\0\1IM" + struct.pack("<II", kind, len(content)) + content)
        with bounded(growth=256 * MB), pytest.raises(BenchError, match="MATLAB file"):
            svhn._read_mat(path)


def pickled(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_memo_of_a_pickle_takes_no_memory(tmp_path: Path) -> None:
    """The unpickler in C would allocate 32 GB for one number of four bytes."""
    path = pickled(tmp_path / "batch", b"\x80\x02]r\xff\xff\xff\x7f.")
    with bounded(growth=256 * MB):
        assert read_plain_pickle(path) == []


@pytest.mark.parametrize("opcode", [b"]", b"}", b"(", b"\x8f", b"K\x01"])
def test_a_pickle_of_many_opcodes(opcode: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opcodes of one byte create objects of 64 to 200 bytes."""
    monkeypatch.setattr(plain_pickle, "PICKLE_OPCODES", 1000)
    assert read_plain_pickle(pickled(tmp_path / "a", b"\x80\x04" + opcode * 900 + b"N.")) is None
    with pytest.raises(BenchError, match=r"b has more than 1,000 opcodes of pickle, the limit for a batch of images"):
        read_plain_pickle(pickled(tmp_path / "b", b"\x80\x04" + opcode * 1000 + b"N."))


@pytest.mark.parametrize(
    "declared", [b"\x8e", b"\x96", b"\x8d"]
)  # bytes, bytearray and text with eight bytes of length
@pytest.mark.parametrize("size", [2**40, 2**62])
def test_a_pickle_that_declares_more_than_it_has(declared: bytes, size: int, tmp_path: Path) -> None:
    path = pickled(tmp_path / "batch", b"\x80\x05" + declared + struct.pack("<Q", size) + b"abc.")
    with bounded(growth=256 * MB), pytest.raises(BenchError, match="is not a readable pickle"):
        read_plain_pickle(path)


def test_an_ordinary_batch_has_few_opcodes(tmp_path: Path) -> None:
    """A training file of CIFAR-100 has 50,000 names and twice as many labels."""
    names = [f"{number}.png" for number in range(200)]
    batch = {"data": np.zeros((200, 3072), np.uint8), "fine_labels": [3] * 200, "coarse_labels": [1] * 200}
    for protocol in range(6):
        path = pickled(tmp_path / "batch", pickle.dumps({**batch, "filenames": names}, protocol=protocol))
        unpickler = plain_pickle._PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1")
        assert unpickler.load()["filenames"] == names
        assert unpickler.n_opcodes * 250 < limits.PICKLE_OPCODES


def test_an_array_that_is_longer_than_its_header(tmp_path: Path) -> None:
    """A sparse file of terabytes would be hashed for hours."""
    path = tmp_path / "fog.npy"
    np.save(path, np.zeros(5, np.uint8))
    with path.open("rb") as file:
        assert map_array(file).shape == (5,)
    with path.open("ab") as file:
        file.write(b"x")
    with path.open("rb") as file, pytest.raises(ValueError, match="it has 134 bytes, but its header states 133"):
        map_array(file)


def test_a_declared_size_does_not_reserve_memory(tmp_path: Path) -> None:
    """Fifteen bytes that declare five gigabytes."""
    (tmp_path / "a").write_bytes(b"\x80\x05\x96" + struct.pack("<Q", 5 * 10**9) + b"abc.")
    with bounded(growth=64 * MB), pytest.raises(BenchError, match=r"is not a readable pickle \(it is truncated\)"):
        read_plain_pickle(tmp_path / "a")
    (tmp_path / "b").write_bytes(pickle.dumps(bytearray(b"content"), 5))
    assert read_plain_pickle(tmp_path / "b") == bytearray(b"content")


def test_a_type_of_nested_tuples(tmp_path: Path) -> None:
    """Its text would have 2^50 characters."""
    nested = b")" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(50))
    (tmp_path / "a").write_bytes(b"\x80\x02cnumpy\ndtype\n" + nested + b"\x85R.")
    with bounded(growth=64 * MB), pytest.raises(BenchError, match="array of a type without a code"):
        read_plain_pickle(tmp_path / "a")
