"""Reading of image files: every format and mode that Pillow reads, orientation, and what a hash covers."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BenchError
from bench.core.specs import Fitting
from bench.data import image_files
from bench.data.image_files import FITTING, digest_files, digest_split, image_size, opens, read_image

SIDE = 12
ORIENTATION = 0x0112


def picture(seed: int = 0, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def read(path: Path, size: int = SIDE) -> np.ndarray:
    """(H, W, 3)."""
    return read_image(path, Fitting(size=size), fit=False).transpose(1, 2, 0)


def read_saved(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    return read(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
        ("a.tga", {}),
        ("a.jp2", {"irreversible": False}),
    ],
)
def test_lossless_formats_keep_every_pixel(tmp_path: Path, name: str, options: dict) -> None:
    assert np.array_equal(read_saved(Image.fromarray(picture()), tmp_path / name, **options), picture())


@pytest.mark.parametrize("name", ["a.jpg", "a.jfif", "a.jpe", "a.JPEG"])
def test_every_name_of_a_jpeg_gives_the_same_pixels(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG")
    (tmp_path / name).write_bytes(stream.getvalue())
    assert np.array_equal(read(tmp_path / name), np.asarray(Image.open(stream)))


DEEP = np.arange(144).reshape(SIDE, SIDE) * 455 + 3  # 3…65068


@pytest.mark.parametrize(("name", "kind"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2"), ("a.pgm", "<u2")])
def test_sixteen_bits_of_grey_are_scaled_and_not_clipped(tmp_path: Path, name: str, kind: str) -> None:
    deep = DEEP.astype(kind)
    image = Image.fromarray(deep) if kind == "<u2" else Image.frombytes("I;16B", (SIDE, SIDE), deep.tobytes())
    grey = read_saved(image, tmp_path / name)
    assert np.array_equal(grey, np.repeat(np.floor(DEEP / 257 + 0.5)[:, :, None], 3, axis=2))


def test_eight_bits_stored_as_sixteen_are_the_same_image(tmp_path: Path) -> None:
    grey = picture()[:, :, 0]
    wide = read_saved(Image.fromarray(grey.astype(np.uint16) * 257), tmp_path / "wide.png")
    assert np.array_equal(wide, read_saved(Image.fromarray(grey), tmp_path / "plain.png"))


def write_tiff(path: Path, pixels: np.ndarray, *, photometric: int, sample_format: int = 1) -> None:
    """Write a grey TIFF of one strip, tag by tag: no library that the tests need writes all of these."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width = pixels.shape
    tags = {256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height,
            279: pixels.nbytes, 339: sample_format}  # fmt: skip
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + pixels.nbytes)
    path.write_bytes(head + pixels.tobytes() + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize(("kind", "white"), [("u1", 0), ("u1", 1), ("<u2", 0), ("<u2", 1), (">u2", 1)])
def test_a_tiff_in_which_white_is_zero_is_the_same_image(tmp_path: Path, white: int, kind: str) -> None:
    top = np.iinfo(kind).max
    deep = (DEEP * top // 65535).astype(kind)
    stored = deep if white == 1 else (top - deep).astype(kind)
    write_tiff(tmp_path / "a.tif", stored, photometric=white)
    assert np.array_equal(read(tmp_path / "a.tif")[:, :, 1], np.floor(deep / top * 255 + 0.5))


def test_a_kind_of_tiff_that_pillow_does_not_read_is_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", DEEP.astype(np.float16), photometric=1, sample_format=3)
    with pytest.raises(BenchError, match=r"a\.tif is .* not an image that Pillow reads; repair, convert or"):
        read(tmp_path / "a.tif")


def test_the_hash_says_that_white_was_zero(tmp_path: Path) -> None:
    """Its pixels are not those that were read before such images were inverted."""
    for white in (0, 1):
        write_tiff(tmp_path / "a.tif", DEEP.astype("<u2"), photometric=white)
        plain = hashlib.sha256((tmp_path / "a.tif").read_bytes()).digest()
        assert (digest_files([tmp_path / "a.tif"], tmp_path).digests == [plain]) == (white == 1)


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i2"])
def test_signed_pixels_are_refused(tmp_path: Path, kind: str) -> None:
    write_tiff(tmp_path / "a.tif", (DEEP % 128).astype(kind), photometric=1, sample_format=2)
    with pytest.raises(BenchError, match=r"a\.tif has signed pixels, whose range is not known; save it with 8 bits"):
        read(tmp_path / "a.tif")


def test_sixteen_bits_of_a_format_without_a_known_range_are_refused(tmp_path: Path) -> None:
    """FITS stores signed numbers, which Pillow returns as unsigned ones."""
    cards = ["SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", f"NAXIS1  = {SIDE}", f"NAXIS2  = {SIDE}", "END"]
    head = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    (tmp_path / "a.fits").write_bytes(head + (DEEP - 30000).astype(">i2").tobytes().ljust(2880, b"\0"))
    with pytest.raises(BenchError, match=r"a\.fits has I;16 pixels, whose range is not known"):
        read(tmp_path / "a.fits")


@pytest.mark.parametrize("pixels", [DEEP.astype(np.int32), (DEEP / 65535).astype(np.float32)])
def test_numbers_without_a_known_range_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(BenchError, match=r"a\.tif has (signed|F) pixels, whose range is not known; save"):
        read_saved(Image.fromarray(pixels), tmp_path / "a.tif")


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = picture()[:, :, 0] > 127
    image = Image.fromarray(np.where(bits, 255, 0).astype(np.uint8)).convert("1")
    for name in ("a.png", "a.pbm", "a.bmp", "a.tif"):
        assert np.array_equal(read_saved(image, tmp_path / name)[:, :, 1], np.where(bits, 255, 0)), name


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped_and_the_colour_below_shows(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture()).convert("L" if mode == "LA" else "RGB")
    expected = np.asarray(image.convert("RGB"))
    image = image.convert(mode)
    image.putalpha(Image.fromarray(picture(1)[:, :, 0]))
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True, "exact": True}), ("a.tif", {})):
        assert np.array_equal(read_saved(image, tmp_path / name, **options), expected), name


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(255, -1, -1))])
def test_palettes_whatever_is_transparent(tmp_path: Path, transparency: object) -> None:
    """Without a warning: where warnings are errors, an image must not fail for one."""
    image = Image.fromarray(picture()).convert("P")
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_saved(image, tmp_path / "a.png", **options)
    palette = np.array(image.getpalette()).reshape(-1, 3)
    assert np.array_equal(found, palette[np.asarray(image)])


def test_cmyk_is_converted(tmp_path: Path) -> None:
    ink = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    found = read_saved(Image.frombytes("CMYK", (SIDE, SIDE), ink.tobytes()), tmp_path / "a.tif").astype(float)
    cmy, black = ink[:, :, :3] / 255, ink[:, :, 3:] / 255
    assert np.abs(found - 255 * (1 - cmy) * (1 - black)).max() <= 1.5


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (40, 200)]
    for name in ("a.gif", "a.png", "a.tif"):
        assert (read_saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:]) == 40).all(), name


TURNS = {  # what a viewer does with the stored pixels
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {})])
def test_an_exif_orientation_is_applied(tmp_path: Path, orientation: int, name: str, options: dict) -> None:
    path = tmp_path / name
    found = read_saved(Image.fromarray(picture()), path, exif=turned(orientation), **options)
    assert np.array_equal(found, TURNS[orientation](picture()))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_the_size_is_that_of_the_upright_image(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture(0, width=24, height=12)).save(tmp_path / name, exif=turned(6))
    assert image_files.image_size(tmp_path / name) == (12, 24)


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    found = read_saved(Image.fromarray(DEEP.astype(np.uint16)), tmp_path / "a.png", exif=turned(6))
    assert np.array_equal(found[:, :, 0], np.rot90(np.floor(DEEP / 257 + 0.5), -1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0no tiff at all", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_damaged_exif_block_says_nothing(tmp_path: Path, exif: bytes) -> None:
    """No warning either, with the line of Pillow that raised it."""
    Image.fromarray(picture()).save(tmp_path / "plain.jpg")
    found = read_saved(Image.fromarray(picture()), tmp_path / "a.jpg", exif=exif)
    assert np.array_equal(found, read(tmp_path / "plain.jpg"))
    assert digest_files([tmp_path / "a.jpg"], tmp_path).digests == [
        hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest()
    ]


def test_the_hash_of_upright_images_is_that_of_their_bytes(tmp_path: Path) -> None:
    """Older records hold this hash."""
    paths = [tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "c.tif"]
    for path in paths:
        Image.fromarray(picture()).save(path, exif=turned(1))
    expected = hashlib.sha256(f"{SIDE}, 1.0, bilinear: {FITTING}".encode())
    for path in paths:
        expected.update(hashlib.sha256(path.read_bytes()).digest())
    files = digest_files(paths, tmp_path)
    assert digest_split(files, Fitting(size=SIDE)) == expected.digest()
    assert files.n_bytes == sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_the_hash_of_a_turned_image_is_another(tmp_path: Path, name: str) -> None:
    """Its pixels are not those that were read before orientations were applied."""
    Image.fromarray(picture()).save(tmp_path / name, exif=turned(6))
    assert digest_files([tmp_path / name], tmp_path).digests != [
        hashlib.sha256((tmp_path / name).read_bytes()).digest()
    ]


@pytest.mark.parametrize("name", ["AVIF", "DDS", "SPIDER", "BLP"])
def test_a_damaged_file_of_any_format_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Readers of Pillow raise RuntimeError, NotImplementedError or AttributeError for some of these files."""
    Image.init()
    if name not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {name}")
    mode = {"BLP": "P", "SPIDER": "F"}.get(name, "RGB")
    path, whole, refused = tmp_path / "image", io.BytesIO(), 0
    Image.fromarray(picture()).convert(mode).save(whole, name)
    content, fitting = whole.getvalue(), Fitting(size=SIDE)
    for place in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:place] + b"\xfe" * 4 + content[place + 4 :])
        opens(path)
        for call in (lambda: image_size(path), lambda: read_image(path, fitting, fit=True)):
            try:
                call()
            except BenchError as error:
                refused += "\n" not in str(error)
    assert refused
