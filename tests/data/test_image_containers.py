"""Images in containers, tiles and compressed tables have the limits of other images."""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from pathlib import Path

import pytest
from bounds import bounded
from image_containers import compressed_fits, icon, iptc, jpeg, mac_icon, texture, tiled
from PIL import Image

from bench.core.errors import BenchError
from bench.core.limits import PIXELS
from bench.core.specs import Fitting
from bench.data import image_bounds
from bench.data.image_files import digest_files, image_size, opens, read_image

MB = 2**20
SIDE = 13_000  # below the limit of Pillow


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(side: int) -> bytes:
    """A grey PNG of which only the first row is there."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(side + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def content_of(name: str, side: int) -> bytes:
    """The content of a file ``name`` that holds an image, or a tile, of ``side``×``side`` pixels."""
    if name.endswith("ico"):
        return icon(png(side))
    if name.endswith("icns"):
        return mac_icon(png(side))
    return texture(jpeg(side, side)) if name.endswith("blp") else tiled(side, side)


@pytest.mark.parametrize("name", ["a.ico", "a.icns", "a.blp", "a.tif"])
def test_a_large_image_in_a_small_header(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content_of(name, SIDE))
    with bounded(growth=64 * MB), pytest.raises(BenchError) as raised:
        read_image(path, Fitting(size=16), fit=True)
    assert f"pixels, more than the limit of {PIXELS:,}; save it with fewer pixels" in str(raised.value)
    assert opens(path)


def test_a_hash_decodes_no_large_icon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with the mark of an orientation is opened, and Pillow decodes an icon when it is opened."""
    decoded = list[object]()
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda image: decoded.append(image.size))
    (tmp_path / "a.ico").write_bytes(icon(png(SIDE)) + b"Exif\0\0")
    assert len(digest_files([tmp_path / "a.ico"], tmp_path).digests) == 1
    assert decoded == []


@pytest.mark.parametrize("name", ["a.ico", "a.icns", "a.blp", "a.tif"])
def test_an_image_of_unknown_size_has_the_turn_of_the_largest_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = list[int]()

    def turn(pixels: int) -> contextlib.AbstractContextManager[object]:
        turns.append(pixels)
        return contextlib.nullcontext()

    monkeypatch.setattr(image_bounds, "_turn", turn)
    monkeypatch.setattr(image_bounds, "LARGE_IMAGE", 5000)
    (tmp_path / name).write_bytes(content_of(name, 100))
    with contextlib.suppress(BenchError):  # it is damaged
        read_image(tmp_path / name, Fitting(size=16), fit=True)
    assert max(turns) == (100 * 100 if name == "a.tif" else PIXELS)


@pytest.mark.parametrize("limit", [None, 10**9, 12])
def test_the_limit_of_pillow_is_as_before(limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the user, for whom it neither changes nor changes what is read here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.ico").write_bytes(icon(png(SIDE)))
    assert read_image(tmp_path / "a.png", Fitting(size=16), fit=True).shape == (3, 16, 16)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(BenchError, match="more than the limit"):
        image_size(tmp_path / "b.ico")
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("name", ["a.iim", "a.jpg"])
def test_an_iptc_file_is_not_decoded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(iptc(png(SIDE)))
    with bounded(growth=64 * MB), pytest.raises(BenchError, match="is IPTC, which Pillow does not decode itself"):
        read_image(tmp_path / name, Fitting(size=16), fit=True)


def test_a_compressed_table_of_fits_is_not_decompressed(tmp_path: Path) -> None:
    """Pillow 11 decompresses all of it, whatever size the header tells."""
    (tmp_path / "a.fits").write_bytes(compressed_fits(gzip.compress(bytes(200 * MB))))
    with bounded(growth=64 * MB), pytest.raises(BenchError, match=r"a\.fits is FITS with compressed pixels"):
        read_image(tmp_path / "a.fits", Fitting(size=12), fit=True)
