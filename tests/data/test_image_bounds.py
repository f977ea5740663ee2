"""Images with too many pixels, as stored or after resizing, are refused before their pixels exist."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from bounds import bounded
from image_containers import iptc
from PIL import Image

from bench.core.errors import BenchError
from bench.core.limits import PIXELS
from bench.core.specs import Fitting
from bench.data import image_bounds, image_files
from bench.data.image_files import fit_image, image_size, opens, read_image, read_images
from bench.data.image_listing import list_images

FITTING = Fitting(size=224)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path: Path, width: int, height: int) -> Path:
    """A grey PNG of one bit per pixel, of which only the first row is there."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(10_000, 1 + (width + 7) // 8)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


#: More pixels than the limit; more than Pillow warns of; more than Pillow opens; and the largest size of a PNG.
BOMBS = [(8200, 8200), (10_000, 10_000), (50_000, 50_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", BOMBS)
def test_a_decompression_bomb_is_one_sentence(size: tuple[int, int], tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", *size)
    for read in (lambda: read_image(path, FITTING, fit=True), lambda: image_size(path)):
        with bounded(growth=64 * 2**20), pytest.raises(BenchError) as raised:
            read()
        assert f"{PIXELS:,}" in str(raised.value)
        assert "; save it with fewer pixels, or remove it." in str(raised.value)
    assert opens(path)  # so that it is not taken for a file of another kind and left out


def test_a_bomb_without_an_extension_is_an_image(tmp_path: Path) -> None:
    png(tmp_path / "a", *BOMBS[0])
    assert list(list_images(tmp_path).images) == ["a"]


@pytest.mark.parametrize(("width", "height"), [(1, 14_000), (14_000, 1), (3, 9_000)])
def test_an_extreme_strip_is_one_sentence(width: int, height: int, tmp_path: Path) -> None:
    """1×14000 has 3 million rows after its shorter side was resized to 224."""
    path = png(tmp_path / "a.png", width, height)
    with bounded(growth=64 * 2**20), pytest.raises(BenchError, match="after its shorter side was resized, more than"):
        read_image(path, FITTING, fit=True)


def test_the_limit_itself_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_bounds, "PIXELS", 600)
    for width, height, allowed in ((30, 20, True), (30, 21, False), (10, 60, False), (20, 25, True)):
        path = tmp_path / f"{width}.png"
        Image.new("RGB", (width, height)).save(path)  # the shorter side becomes 20
        if allowed:
            assert read_image(path, Fitting(size=20), fit=True).shape == (3, 20, 20)
        else:
            with pytest.raises(BenchError, match=r"more than the limit of 600"):
                read_image(path, Fitting(size=20), fit=True)


def test_a_strip_that_is_not_resized_is_only_of_another_size(tmp_path: Path) -> None:
    Image.new("RGB", (1, 14_000)).save(tmp_path / "a.png")
    with pytest.raises(BenchError, match="is 1×14000 but other images are 224×224"):
        read_image(tmp_path / "a.png", FITTING, fit=False)


def test_a_side_that_no_memory_holds() -> None:
    with bounded(growth=2**26), pytest.raises(BenchError, match="--image-size 100000 is more than 8192 pixels"):
        read_images([Path("a.png")], Fitting(size=100_000), fit=True)


@pytest.mark.parametrize(("name", "kind"), [("a.eps", "EPS"), ("a.jpg", "EPS"), ("a.iim", "IPTC"), ("b.jpg", "IPTC")])
def test_no_other_program_is_started_for_an_image(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow would call Ghostscript for an EPS file, also for one in an IPTC file."""
    called = list[object]()
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given, **_: called.append(given))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / name).write_bytes(iptc(content) if kind == "IPTC" else content)
    with pytest.raises(BenchError, match=f"is {kind}, which Pillow does not decode itself; convert or remove it"):
        read_image(tmp_path / name, FITTING, fit=True)
    assert not opens(tmp_path / name)
    assert not called


def test_large_images_are_decoded_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads would need eight times the memory."""
    monkeypatch.setattr(image_bounds, "LARGE_IMAGE", 100)
    at_once, most, lock = [0], [0], threading.Lock()
    fit = fit_image

    def counted(image: Image.Image, fitting: Fitting) -> Image.Image:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.01)
        result = fit(image, fitting)
        with lock:
            at_once[0] -= 1
        return result

    monkeypatch.setattr(image_files, "fit_image", counted)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for path in paths:
        Image.new("RGB", (90, 90)).save(path)
    assert read_images(paths, Fitting(size=70), fit=True).shape == (8, 3, 70, 70)
    assert most == [1]


def test_sixteen_bits_are_scaled_by_blocks_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (31, 31)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    whole = read_image(tmp_path / "a.png", Fitting(size=31), fit=False)
    monkeypatch.setattr(image_files, "ROWS_OF", 70)
    assert np.array_equal(read_image(tmp_path / "a.png", Fitting(size=31), fit=False), whole)
    assert np.array_equal(whole[0], (deep.astype(int) * 510 + 65535) // 131070)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_an_image_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read in (lambda: read_image(path, FITTING, fit=True), lambda: image_files.digest_files([path], path.parent)):
        with bounded(seconds=2), pytest.raises(BenchError, match=rf"cannot read image .*a\.png: it is a {kind}"):
            read()
    assert not opens(path)
