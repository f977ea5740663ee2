"""Checkpoints that would expand to far more than their size are one sentence."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from bounds import bounded
from odd_paths import KINDS, odd_path
from torch import Tensor

from bench.core import limits
from bench.core.errors import BenchError
from bench.models import file_kinds
from bench.models.file_kinds import kind_of
from bench.models.sources import call_factory, load_module
from bench.models.weights import read_checkpoint

MB = 10**6


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", MB)


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


def repacked(path: Path) -> Path:
    """Compress the entries of a torch file, which torch reads as well."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.usefixtures("small")
def test_a_compressed_checkpoint(tmp_path: Path) -> None:
    fine = repacked(saved(tmp_path / "a.pth", {"fc.weight": torch.zeros(200_000)}))
    assert fine.stat().st_size < 10_000
    assert read_checkpoint(fine).state["fc.weight"].shape == (200_000,)
    bomb = repacked(saved(tmp_path / "b.pth", {"fc.weight": torch.zeros(3 * MB)}))
    for read in (read_checkpoint, load_module, kind_of):
        with bounded(growth=64 * MB), pytest.raises(BenchError, match=r"b\.pth: it decompresses to more than"):
            read(bomb)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "names", [("constants.pkl", "code/net.py"), ("archive_format",)], ids=["TorchScript", "export"]
)
def test_a_compressed_archive_of_a_network(names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "net"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"net/{name}", b"")
        archive.writestr("net/data/0", bytes(3 * MB))
    with bounded(growth=64 * MB), pytest.raises(BenchError, match="it decompresses to more than 1 MB"):
        load_module(path)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_that_repeat_one_value(dtype: torch.dtype, tmp_path: Path) -> None:
    """A stride of 0 makes 4 TB of four bytes; the conversion to float32 would write them out."""
    path = saved(tmp_path / "a.pth", {"fc.weight": torch.zeros(1, dtype=dtype).expand(10**12)})
    with (
        bounded(growth=64 * MB),
        pytest.raises(BenchError, match=r"holds tensors of [24] TB in .* kB; at most"),
    ):
        read_checkpoint(path)


def test_shared_weights_are_read(tmp_path: Path) -> None:
    shared = torch.randn(1000)
    path = saved(tmp_path / "a.pth", {f"fc.weight{number}": shared for number in range(50)})
    assert len(read_checkpoint(path).state) == 50


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_of_many_opcodes(legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    torch.save({str(number): number for number in range(500)}, path, _use_new_zipfile_serialization=not legacy)
    assert kind_of(path) == "state_dict"
    for limit, name in ((1000, "PICKLE_OPCODES"), (500, "PICKLE")):
        with monkeypatch.context() as patched:
            patched.setattr(file_kinds, name, limit)
            with pytest.raises(BenchError, match="has a pickle of more than"):
                kind_of(path)


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_deeply_nested_header(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with bounded(), pytest.raises(BenchError, match=r"checkpoint .*a\.safetensors cannot be read: it is damaged"):
        read_checkpoint(path)


def test_a_header_of_a_hundred_megabytes_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("the header was parsed"))
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 99 * MB))
    with path.open("ab") as file:
        file.truncate(100 * MB)
    with bounded(), pytest.raises(BenchError, match="cannot be read"):
        read_checkpoint(path)


def test_a_legacy_file_that_declares_terabytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(0x1234)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue().replace(b"M\x34\x12", b"\x8a\x06" + (10**12).to_bytes(6, "little"))
    (tmp_path / "a.pth").write_bytes(content[:-900])
    with bounded(growth=256 * MB), pytest.raises(BenchError):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "NUL"])
def test_a_checkpoint_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    path = Path(odd_path(kind, tmp_path))
    for read in (kind_of, read_checkpoint, load_module):
        with bounded(), pytest.raises(BenchError) as raised:
            read(path)
        assert "checkpoint" in str(raised.value)
        assert len(str(raised.value)) < 600


@pytest.mark.parametrize("kind", ["too long", "long name", "NUL", "loop", "pipe", "folder", "huge"])
def test_a_file_of_a_factory_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    path = Path(odd_path(kind, tmp_path))
    if path.parent == tmp_path and kind not in ("long name", "NUL"):
        path = path.rename(tmp_path / "net.py")
        if kind == "loop":
            (tmp_path / "loop").symlink_to(path)
    source = f"{path}:net" if path.suffix == ".py" else f"{path}.py:net"
    with (
        bounded(seconds=2),
        pytest.raises(BenchError, match=r"(module|file) .*(too long|NUL|loop|links|pipe|folder|10 TB)"),
    ):
        call_factory(source)
