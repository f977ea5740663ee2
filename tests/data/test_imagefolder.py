"""Folders of images: names, labels, sizes, hashes, and every way in which they are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from bench.core.errors import BenchError
from bench.core.specs import Fitting
from bench.data import DataRequest, image_files, load_dataset
from bench.data.imagefolder import load_imagefolder
from bench.data.split import measure_moments


def picture(seed: int, width: int = 12, height: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes; dog has more images than cat. PNG keeps pixels exactly."""
    folder = tmp_path / "pets"
    names = ["train/dog/a.png", "train/dog/b.png", "train/cat/a.png", "test/dog/a.png", "test/cat/z.png"]
    for seed, name in enumerate(names):
        save(folder / name, picture(seed))
    return folder


def load(data_dir: Path, size: int | None = None, name: str | None = None) -> Any:
    return load_dataset("imagefolder", DataRequest(data_dir, size, name))


def test_ids_labels_and_pixels(root: Path) -> None:
    data = load(root)
    assert data.train.ids == ["train/cat/a.png", "train/dog/a.png", "train/dog/b.png"]
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.test.ids == ["test/cat/z.png", "test/dog/a.png"]
    assert (data.name, data.official, data.num_classes, data.image_size) == ("pets", False, 2, 12)
    pixels = data.train.read(np.array([2, 0]))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels.transpose(0, 2, 3, 1), [picture(1), picture(2)])


def test_ids_are_sorted_even_where_class_names_sort_otherwise(root: Path) -> None:
    """``cat`` comes before ``cat-like``, but ``cat-like/`` before ``cat/``."""
    save(root / "train/cat-like/a.png", picture(5))
    train = load(root).train
    assert train.ids == sorted(train.ids)
    assert train.ids[:2] == ["train/cat-like/a.png", "train/cat/a.png"]
    assert train.labels.tolist() == [1, 0, 2, 2]


def test_reading_nothing_keeps_the_shape(root: Path) -> None:
    assert load(root).test.read(np.arange(0)).shape == (0, 3, 12, 12)


def test_val_stands_in_for_test(root: Path) -> None:
    (root / "test").rename(root / "val")
    data = load(root)
    assert (data.test.name, data.test.ids[0]) == ("test", "val/cat/z.png")


def test_test_is_preferred_to_val(root: Path) -> None:
    save(root / "val/cat/other.png", picture(9))
    assert load(root).test.ids == ["test/cat/z.png", "test/dog/a.png"]


def test_images_in_subfolders_and_odd_files(root: Path) -> None:
    save(root / "train/cat/more/b.PNG", picture(7))
    for ignored in ("train/cat/notes.txt", "train/cat/._a.png", "train/.cache/x/a.png", "train/loose.png"):
        (root / ignored).parent.mkdir(parents=True, exist_ok=True)
        (root / ignored).write_bytes(b"no image")
    assert load(root).train.ids[:2] == ["train/cat/a.png", "train/cat/more/b.PNG"]


def test_empty_class_folders_are_no_classes(root: Path) -> None:
    (root / "train" / "bird").mkdir()
    (root / "test" / "fish").mkdir()
    assert load(root).num_classes == 2


def test_grey_palette_and_transparent_images_become_rgb(root: Path) -> None:
    grey = picture(20)[:, :, 0]
    save(root / "train/cat/grey.png", grey)
    Image.fromarray(picture(21)).convert("P").save(root / "train/cat/palette.png")
    Image.fromarray(picture(22)).convert("RGBA").save(root / "train/cat/clear.png")
    data = load(root)
    pixels = dict(zip(data.train.ids, data.train.read(np.arange(6)), strict=True))
    assert np.array_equal(pixels["train/cat/grey.png"], np.stack([grey] * 3))
    assert np.array_equal(pixels["train/cat/clear.png"].transpose(1, 2, 0), picture(22))


def test_other_sizes_are_asked_about_then_made_to_fit(root: Path) -> None:
    save(root / "test/dog/wide.png", picture(30, width=24, height=12))
    with pytest.raises(BenchError, match=r"12×12 .* and 24×12 \(test/dog/wide.png\); give --image-size S"):
        load(root)
    data = load(root, 12)
    wide = data.test.read(np.array([2]))[0].transpose(1, 2, 0)
    assert np.array_equal(wide, picture(30, width=24, height=12)[:, 6:18]), "the middle of the longer side"


def test_images_that_are_no_squares_are_asked_about(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        save(tmp_path / name, picture(0, width=10, height=20))
    with pytest.raises(BenchError, match="images are 10×20"):
        load(tmp_path)
    assert load(tmp_path, 8).test.read(np.arange(1)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(("width", "height"), [(12, 12), (6, 6), (24, 12), (12, 24), (7, 30), (1, 5)])
@pytest.mark.parametrize("size", [1, 8, 12])
def test_a_fitted_image_has_the_size_asked_for(width: int, height: int, size: int) -> None:
    image = Image.fromarray(picture(0, width, height))
    assert image_files.fit_image(image, Fitting(size=size)).size == (size, size)


@pytest.mark.parametrize(("width", "height"), [(6, 12), (12, 6), (30, 11)])
def test_a_small_image_is_enlarged_rather_than_padded(width: int, height: int) -> None:
    white = Image.fromarray(np.full((height, width, 3), 255, np.uint8))
    assert np.asarray(image_files.fit_image(white, Fitting(size=12))).min() == 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.875])
def test_fitting_is_that_of_timm_to_the_pixel(crop_pct: float, interpolation: Literal["bilinear", "bicubic"]) -> None:
    """Evaluation transform of timm at odd and even sizes, wider, higher, larger and smaller than the crop."""
    for seed, (width, height) in enumerate([(40, 31), (31, 40), (33, 33), (16, 61), (9, 12), (24, 24), (25, 24)]):
        for size in (23, 24):
            config = {"input_size": (3, size, size), "crop_pct": crop_pct, "interpolation": interpolation}
            pil = Image.fromarray(picture(seed, width, height))
            tensor = create_transform(**config, mean=(0, 0, 0), std=(1, 1, 1))(pil)
            expected = (tensor * 255).round().byte().permute(1, 2, 0).numpy()
            fitting = Fitting(size=size, crop_pct=crop_pct, interpolation=interpolation)
            found = np.asarray(image_files.fit_image(pil, fitting))
            assert np.array_equal(found, expected), (width, height, size)


def test_a_default_fitting_is_for_images_of_several_sizes_or_larger_ones(root: Path) -> None:
    """It never enlarges images of one size, and a size that the user gives replaces it."""

    def loaded(default: Fitting, size: int | None = None) -> tuple[int, Fitting | None]:
        data = load_dataset("imagefolder", DataRequest(root, size, default_fitting=default))
        return data.image_size, data.fitting

    small, large = Fitting(size=8, crop_pct=0.8, interpolation="bicubic"), Fitting(size=16)
    assert loaded(small) == (8, small)
    assert loaded(large) == (12, None)
    assert loaded(Fitting(size=12, crop_pct=0.5)) == (12, None)
    assert loaded(small, size=10) == (10, Fitting(size=10))
    save(root / "test/dog/wide.png", picture(30, width=24, height=12))
    assert loaded(large) == (16, large)
    given = load_dataset("imagefolder", DataRequest(root, fitting=small))
    assert given.test.sha == load_dataset("imagefolder", DataRequest(root, default_fitting=small)).test.sha
    assert given.test.sha != load(root, 8).test.sha, "other pixels, so another hash"


def test_resizing_keeps_the_middle_and_the_directions() -> None:
    """A picture whose red grows downwards and whose green grows to the right still does so."""
    rows, columns = np.mgrid[0:40, 0:80]
    image = Image.fromarray(np.stack([rows * 6, columns * 3, 0 * rows], axis=2).astype(np.uint8))
    fitted = np.asarray(image_files.fit_image(image, Fitting(size=10))).astype(int)
    assert (np.diff(fitted[:, :, 0], axis=0) > 0).all()
    assert (np.diff(fitted[:, :, 1], axis=1) > 0).all()
    assert np.allclose(fitted[:, :, :2].mean(axis=(0, 1)), [19.5 * 6, 39.5 * 3], atol=1.5)


def test_an_image_of_another_size_that_no_header_showed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.imagefolder.SAMPLED_HEADERS", 1)
    save(root / "train/dog/b.png", picture(40, 5, 6))
    with pytest.raises(BenchError, match=r"b\.png is 5×6 but other images are 12×12; give --image-size 12"):
        load(root).train.read(np.arange(3))


def test_large_images_are_decoded_in_order(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"train/{i % 2}/{i:02d}.png", np.full((65, 65, 3), i, np.uint8))
    save(tmp_path / "test/0/a.png", picture(0, 65, 65))
    train = load(tmp_path).train
    read = train.read(np.arange(12)[::-1])
    assert [f"{value:02d}" for value in read[:, 0, 0, 0]] == [Path(i).stem for i in train.ids[::-1]]


def test_the_hash_knows_bytes_names_labels_and_size(root: Path) -> None:
    original = load(root)
    assert load(root).test.sha == original.test.sha
    assert load(root, 12).test.sha == original.test.sha, "asking for the size it has changes nothing"
    assert load(root, 10).test.sha != original.test.sha
    (root / "test/cat/z.png").rename(root / "test/cat/y.png")
    renamed = load(root)
    assert renamed.test.sha != original.test.sha
    assert renamed.train.sha == original.train.sha
    save(root / "test/cat/y.png", picture(50))
    assert load(root).test.sha not in (renamed.test.sha, original.test.sha)


def test_the_hash_does_not_know_where_the_folder_lies(root: Path) -> None:
    sha = load(root).test.sha
    assert load(root.rename(root.with_name("animals"))).test.sha == sha


def test_hashing_decodes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert len(load_imagefolder(DataRequest(root)).test.sha) == 16


def test_moments_are_measured_on_the_training_images_when_asked_for(root: Path) -> None:
    data = load(root)
    pixels = np.stack([picture(i) for i in range(3)]) / 255
    assert np.allclose(data.mean, pixels.mean(axis=(0, 1, 2)), atol=6e-5)
    assert np.allclose(data.std, pixels.std(axis=(0, 1, 2)), atol=6e-5)
    assert data.moments == measure_moments(data.train)


def test_a_constant_channel_can_be_divided_by_its_deviation(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        save(tmp_path / name, np.full((4, 4, 3), 51, np.uint8))
    assert load(tmp_path).moments == ((0.2, 0.2, 0.2), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("folder", "given", "name"),
    [
        ("cifar10-jpeg", None, "cifar10-jpeg"),
        ("cifar10", None, "cifar10-imagefolder"),
        ("CIFAR-10", None, "CIFAR-10-imagefolder"),
        ("FashionMNIST", None, "FashionMNIST-imagefolder"),
        ("data", "mnist", "mnist-imagefolder"),
        ("data", "pets 2.0", "pets-2.0"),
        ("a,b:c*", None, "a-b-c"),
        ("—", None, "images"),
        ("007", None, "images-007"),
        ("NA", None, "images-NA"),
        ("data", "1e5", "images-1e5"),
        ("e\u0301te\u0301", None, "\u00e9t\u00e9"),
    ],
)
def test_its_name_is_never_that_of_a_built_in_data_set(root: Path, folder: str, given: Any, name: str) -> None:
    assert load(root.rename(root.with_name(folder)), name=given).name == name


def test_the_name_of_the_current_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert load(Path(".")).name == "pets"


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_image(root: Path, content: bytes) -> None:
    (root / "train/dog/b.png").write_bytes(content)
    with pytest.raises(BenchError, match=r"train/dog/b\.png is damaged or not an image"):
        load(root, 12).train.read(np.arange(3))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image(root: Path, suffix: str) -> None:
    path = root / f"train/dog/c.{suffix}"
    save(path, picture(1, 64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BenchError, match=rf"train/dog/c\.{suffix} is damaged or not an image"):
        load(root, 12).train.read(np.arange(4))


def test_a_class_that_is_tested_but_not_trained(root: Path) -> None:
    save(root / "test/bird/a.png", picture(0))
    with pytest.raises(BenchError, match=r"test/bird has images but .*train/bird has none"):
        load(root)


def test_one_class_is_too_few(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split / "only" / "1.png", picture(0))
    with pytest.raises(BenchError, match="1 class found; a classifier needs at least 2"):
        load(tmp_path)


@pytest.mark.parametrize(("gone", "sentence"), [("train", "no train/ folder"), ("test", "no test/ or val/ folder")])
def test_a_missing_split(root: Path, gone: str, sentence: str) -> None:
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(BenchError, match=sentence):
        load(root)


def test_a_split_without_class_folders(root: Path) -> None:
    (root / "test").rename(root / "elsewhere")
    save(root / "test/loose.png", picture(0))
    with pytest.raises(BenchError, match="test has no class folder with images in it"):
        load(root)


def test_a_file_name_with_a_line_break(root: Path) -> None:
    save(root / "train/cat/a\nb.png", picture(0))
    with pytest.raises(BenchError, match="has a line break or is not UTF-8; rename it"):
        load(root)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_of_nothing(root: Path, size: int) -> None:
    with pytest.raises(BenchError, match=f"--image-size {size} must be at least 1 pixel"):
        load(root, size)
