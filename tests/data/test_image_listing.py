"""Test the listing of image files in a folder; no file is left out without a note."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BenchError
from bench.data import DataRequest, Dataset, load_dataset
from bench.data.image_listing import list_images

SIDE = 8
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def save(path: Path, value: int = 100, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((SIDE, SIDE, 3), value, np.uint8)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, an image of each in either split."""
    for number, name in enumerate(("train/cat/a.png", "train/dog/a.png", "test/cat/a.png", "test/dog/a.png")):
        save(tmp_path / "pets" / name, 100 + number)
    return tmp_path / "pets"


def load(root: Path) -> Dataset:
    return load_dataset("imagefolder", DataRequest(root))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"b.{extension}", None) for extension in ("jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp")),
        *((f"b.{extension}", None) for extension in ("gif", "dib", "jp2", "apng", "PNG", "GIF", "JpG")),
        *((f"b.{extension}", "JPEG") for extension in ("jfif", "jpe", "JFIF")),
        ("b.tga", None),
        ("b.img", "PNG"),
        ("n01440764_10026", "JPEG"),  # without an extension
    ],
)
def test_what_pillow_reads_is_an_image(root: Path, name: str, kind: str | None) -> None:
    save(root / "train/cat" / name, 109, **({"format": kind} if kind else {}))
    data = load(root)
    assert data.train.ids == ["train/cat/a.png", f"train/cat/{name}", "train/dog/a.png"]
    assert data.notes == ()
    assert abs(int(data.train.read(np.array([1]))[0, 0, 0, 0]) - 109) <= 1  # JPEG rounds


def test_other_files_are_counted_and_named_once(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train/cat/labels.csv", "train/dog/more/clip.mp4", "test/notes.txt", "test/loose.png", "test/dog/x"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        data = load(root)
    note = "5 files left out: train/cat/labels.csv, train/dog/more/clip.mp4, test/dog/x, …"
    assert data.notes == (note,)
    assert [record.getMessage() for record in caplog.records] == [f"pets: {note}"]


def test_what_systems_leave_behind_is_ignored(root: Path) -> None:
    for name in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini", "cat/._a.png", "__MACOSX/cat/._a"):
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / name).write_bytes(b"x")
    data = load(root)
    assert (len(data.train), data.notes) == (2, ())


def test_an_empty_class_and_an_unread_split_are_named(root: Path) -> None:
    (root / "train/bird").mkdir()
    save(root / "val/cat/a.png")
    assert load(root).notes == (
        "1 empty folder left out: train/bird",
        "val/ is not read, since test/ is the test split",
    )


def test_a_class_that_is_not_tested_is_named(root: Path) -> None:
    save(root / "train/bird/a.png")
    assert load(root).notes == ("1 class without a test image: bird",)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_whose_files_are_no_images(root: Path, split: str) -> None:
    for number in range(4):
        (root / split / "dog" / f"{number}.heic").write_bytes(b"not for Pillow")
    (root / split / "dog/a.png").unlink()
    with pytest.raises(BenchError, match=rf"{split}/dog has 4 files and no image \(0.heic, 1.heic, 2.heic, …\)"):
        load(root)


def test_a_class_whose_images_are_all_damaged(root: Path) -> None:
    for name in ("a.png", "b.gif"):
        (root / "test/dog" / name).write_bytes(b"GIF89a, or so it says")
    message = r"test/dog has 2 files with an extension of images, but none can be read \(a.png, b.gif\)"
    with pytest.raises(BenchError, match=message):
        load(root)


def test_a_damaged_image_is_never_left_out(root: Path) -> None:
    (root / "train/dog/b.gif").write_bytes(b"no image")
    with pytest.raises(BenchError, match=r"train/dog/b\.gif is damaged or not an image"):
        load(root).train.read(np.arange(3))


def test_links_to_classes_folders_and_files_are_followed(root: Path, tmp_path: Path) -> None:
    outside = save(tmp_path / "elsewhere/bird/a.png", 7)
    save(tmp_path / "elsewhere/more/b.png", 8)
    (root / "train/bird").symlink_to(outside.parent)
    (root / "test/bird").symlink_to(outside.parent)
    (root / "train/cat/more").symlink_to(tmp_path / "elsewhere/more")
    (root / "train/cat/c.png").symlink_to(outside)
    data = load(root)
    expected = ["train/bird/a.png", "train/cat/a.png", "train/cat/c.png", "train/cat/more/b.png", "train/dog/a.png"]
    assert (data.train.ids, data.num_classes, data.notes) == (expected, 3, ())
    assert data.train.read(np.arange(5))[:, 0, 0, 0].tolist() == [7, 100, 7, 8, 101]


@pytest.mark.parametrize("target", ["train/cat", "train", ".", "train/cat/deep"])
def test_a_loop_of_links_ends_and_is_named(root: Path, target: str) -> None:
    """Nor do images of other classes come in by a link upwards."""
    (root / "train/cat/deep").mkdir()
    (root / "train/cat/deep/loop").symlink_to(root / target)
    data = load(root)
    assert data.train.ids == ["train/cat/a.png", "train/dog/a.png"]
    assert data.notes == ("1 file left out: train/cat/deep/loop/ (a link to a parent folder)",)


def test_two_folders_that_link_to_each_other(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save(one / "a.png"), save(two / "b.png")
    (one / "two").symlink_to(two)
    (two / "one").symlink_to(one)
    listing = list_images(one)
    assert list(listing.images) == ["a.png", "two/b.png"]
    assert len(listing.left_out) == 1


def test_a_broken_link_to_an_image_is_an_error(root: Path) -> None:
    (root / "train/cat/b.png").symlink_to(root / "nowhere.png")
    with pytest.raises(BenchError, match=r"cannot read image .*train/cat/b\.png"):
        load(root)


def test_what_would_block_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "train/cat/pipe.png")
    assert load(root).notes == ("1 file left out: train/cat/pipe.png",)


def test_a_class_is_one_however_its_name_is_composed(root: Path) -> None:
    save(root / "train" / COMPOSED / "0.png"), save(root / "test" / DECOMPOSED / "0.png")
    data = load(root)
    assert (data.num_classes, data.test.labels.tolist()) == (3, [0, 1, 2])
    assert data.test.ids[0] == f"test/{COMPOSED}/0.png"
    assert data.test.read(np.array([0])).shape == (1, 3, SIDE, SIDE)


def test_ids_and_hashes_do_not_depend_on_how_names_are_composed(root: Path) -> None:
    save(root / "test" / "cat" / f"{DECOMPOSED}.png")
    before = load(root).test
    (root / "test/cat" / f"{DECOMPOSED}.png").rename(root / "test/cat" / f"{COMPOSED}.png")
    after = load(root).test
    assert (before.sha, before.ids) == (after.sha, after.ids)


@pytest.mark.parametrize("what", ["classes", "files"])
def test_two_names_that_are_one_are_shown_by_their_code_points(root: Path, what: str) -> None:
    for name in (COMPOSED, DECOMPOSED):
        save(root / "train" / (f"{name}/a.png" if what == "classes" else f"cat/{name}.png"))
    with pytest.raises(BenchError) as caught:
        load(root)
    assert "'cafe\\u0301" in str(caught.value)
    assert "'caf\\xe9" in str(caught.value)


def test_a_class_that_is_not_trained_is_shown_by_its_code_points(root: Path) -> None:
    save(root / "train/cafe/a.png"), save(root / "test" / DECOMPOSED / "a.png")
    with pytest.raises(BenchError, match=r"test/'caf\\xe9' has images but .*train/'caf\\xe9' has none"):
        load(root)


def test_hidden_images_are_named_and_other_hidden_files_are_not(root: Path) -> None:
    before = load(root).test.ids
    save(root / "test/cat/.h.png")
    save(root / "test/cat/.ipynb_checkpoints/1-checkpoint.png")
    save(root / "test/cat/__MACOSX/a.png")
    save(root / "test/.hid/1.png")
    save(root / "test/cat/._1.png")  # of macOS, beside an image
    for name in (".DS_Store", "Thumbs.db", ".git"):
        (root / "test/cat" / name).write_bytes(b"")
    assert load(root).test.ids == before
    (note,) = load(root).notes
    assert note.startswith("4 files left out: test/.hid/ (hidden), ")
    hidden = [".h.png (hidden)", ".ipynb_checkpoints/ (hidden)", "__MACOSX/ (hidden)"]
    assert list(list_images(root / "test/cat").left_out) == hidden
