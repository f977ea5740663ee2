"""Corrupted images in files: what is wrong with them is said before the training, or costs their cells alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data.corrupted.official import OfficialSet

Bench = Callable[..., Any]
SIDE = 12
CLASSES = ("cat", "dog")
FOG = ("--corruptions", "fog", "--severities", "1,5")


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    def call(*arguments: object) -> Any:
        fixed = ("--plugin", plugin, "--models", "tiny", "--variants", "baseline", "--results", tmp_path / "results")
        return bench("run", *fixed, "--attacks", "none", "--epochs", "0", "--no-diagnose", *arguments)

    return call


@pytest.fixture
def files(bench: Bench, tmp_path: Path) -> Path:
    """Digits under fog, in the layout of CIFAR-10-C."""
    out = tmp_path / "files"
    assert bench("corrupt", "--dataset", "digits", "--kinds", "fog", "--out", out).code == 0
    return out


def rows(tmp_path: Path) -> pd.DataFrame:
    table = pd.read_csv(tmp_path / "results" / "results.csv")
    return table[table.corruption.notna()]


def refused(found: Any, sentence: str, tmp_path: Path) -> None:
    """One sentence, and nothing was trained before it."""
    assert found.code == 2
    assert sentence in found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "results" / "runs").exists()


def test_files_that_nobody_published_are_called_so(run: Bench, files: Path, tmp_path: Path) -> None:
    assert run(*FOG, "--limit", "60", "--corruptions-dir", files).code == 0
    table = rows(tmp_path)
    assert set(table.source) == {"official"}
    assert table.notes.str.contains("not verified as a published set").all()
    assert table[["corruption_version", "corruption_seed"]].isna().all(axis=None)
    assert run(*FOG, "--limit", "60").code == 0
    made = rows(tmp_path).set_index("source").loc["generated"]
    assert made[["corruption_version", "corruption_seed"]].notna().all(axis=None)


def test_a_file_that_its_manifest_does_not_know_is_refused(run: Bench, files: Path, tmp_path: Path) -> None:
    np.save(files / "fog.npy", 255 - np.load(files / "fog.npy"))
    refused(
        run(*FOG, "--corruptions-dir", files),
        "fog.npy does not have the SHA-256 listed for it in manifest.json",
        tmp_path,
    )


def test_files_of_two_sets_are_refused(run: Bench, bench: Bench, files: Path, tmp_path: Path) -> None:
    """Each is what its own manifest says."""
    other = tmp_path / "other"
    assert bench("corrupt", "--dataset", "digits", "--kinds", "snow", "--seed", "7", "--out", other).code == 0
    shutil.copy(other / "snow.npy", files)
    manifest = json.loads((files / "manifest.json").read_text())
    manifest["files"]["snow.npy"] = json.loads((other / "manifest.json").read_text())["files"]["snow.npy"]
    (files / "manifest.json").write_text(json.dumps(manifest))
    refused(run("--corruptions", "snow", "--corruptions-dir", files), "belong to different sets", tmp_path)


def test_a_part_of_the_test_images_is_refused_by_its_likely_cause(run: Bench, bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "part"
    assert bench("corrupt", "--dataset", "digits", "--kinds", "fog", "--limit", "50", "--out", out).code == 0
    found = run(*FOG, "--limit", "50", "--corruptions-dir", out)
    refused(found, "all test images are needed, and 'bench corrupt --limit' writes only some of them", tmp_path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for split, count in (("train", 8), ("val", 4)):
        for index in range(count):
            for class_name in CLASSES:
                save(tmp_path / "pets" / split / class_name / f"{index}.png", index)
    return tmp_path / "pets"


@pytest.fixture
def folders(pets: Path, tmp_path: Path) -> Path:
    """Its images under fog and snow, in the layout of ImageNet-C."""
    for kind in ("fog", "snow"):
        for severity in range(1, 6):
            for path in (pets / "val").glob("*/*.png"):
                save(tmp_path / "pets-c" / kind / str(severity) / path.parent.name / path.name, severity)
    return tmp_path / "pets-c"


def save(path: Path, seed: int, side: int = SIDE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)


def without_an_image(folders: Path) -> None:
    (folders / "fog/5/dog/2.png").unlink()


def without_a_severity(folders: Path) -> None:
    shutil.rmtree(folders / "fog/5")


def of_another_size(folders: Path) -> None:
    save(folders / "fog/5/cat/0.png", 0, side=16)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_an_image, "fog/5/dog/2.* is missing"),
        (without_a_severity, "fog/5 is missing"),
        (of_another_size, "0.png is 16×16 but the data set's images are 12×12"),
    ],
)
def test_what_image_files_lack_is_seen_before_the_training(
    run: Bench, pets: Path, folders: Path, tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(folders)
    images = ("--dataset", "imagefolder", "--data-dir", pets)
    refused(run(*images, *FOG, "--corruptions-dir", folders), sentence, tmp_path)
    asked = ("--corruptions", "fog", "--severities", "1,2", "--corruptions-dir", folders)
    assert run(*images, *asked).code == 0, "nobody asked for that severity"
    assert set(rows(tmp_path).status) == {"ok"}


def test_images_that_are_not_evaluated_need_not_be_there(run: Bench, pets: Path, folders: Path, tmp_path: Path) -> None:
    fixed = ("--dataset", "imagefolder", "--data-dir", pets, *FOG, "--corruptions-dir", folders)
    assert run(*fixed, "--limit", "4", "--train-limit", "all").code == 0
    evaluated = next((tmp_path / "results").glob("runs/*/cells/*.samples.csv")).read_text()
    for path in folders.glob("fog/*/*/*.png"):
        if f"val/{path.parent.name}/{path.name}" not in evaluated:
            path.unlink()
    assert run(*fixed, "--limit", "4", "--train-limit", "all", "--force").code == 0


def test_what_goes_wrong_while_reading_costs_that_cell_alone(
    run: Bench, pets: Path, folders: Path, tmp_path: Path
) -> None:
    """A file whose header alone is whole."""
    path = folders / "fog/5/cat/1.png"
    path.write_bytes(path.read_bytes()[:-60])
    asked = ("--corruptions", "fog,snow", "--severities", "1,5", "--corruptions-dir", folders)
    found = run("--dataset", "imagefolder", "--data-dir", pets, *asked)
    assert found.code == 3
    assert "corruption_error" in found.err
    table = rows(tmp_path).set_index(["corruption", "severity"])
    assert table.status.to_dict() == {("fog", 1): "ok", ("fog", 5): "failed", ("snow", 1): "ok", ("snow", 5): "ok"}
    assert table.reason["fog", 5] == "corruption_error"
    assert "1.png is damaged" in table.notes["fog", 5]


def test_a_set_that_vanishes_during_the_run_costs_its_cells_alone(
    run: Bench, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = OfficialSet.identity

    def last_seen(self: OfficialSet, kind: str) -> str:
        found = identity(self, kind)
        (files / "fog.npy").unlink()
        return found

    monkeypatch.setattr(OfficialSet, "identity", last_seen)
    assert run(*FOG, "--limit", "60", "--corruptions-dir", files).code == 3
    table = pd.read_csv(tmp_path / "results" / "results.csv")
    assert table.reason.fillna("").tolist() == ["", "corruption_error", "corruption_error"]


def test_a_disk_that_cannot_be_written_ends_the_run(run: Bench, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "corrupted").write_text("")
    found = run(*FOG, "--limit", "60")
    assert found.code == 2
    assert "cannot write" in found.err


def verify(bench: Bench, plugin: Path, tmp_path: Path) -> Any:
    return bench("verify", "tiny:baseline", "--plugin", plugin, "--results", tmp_path / "results")


def test_a_verification_makes_corrupted_images_anew(run: Bench, bench: Bench, plugin: Path, tmp_path: Path) -> None:
    """It needs no right to write beside the results, and takes no cache's word."""
    run(*FOG, "--limit", "60")
    (path,) = (tmp_path / "results").glob("corrupted/*/fog.npy")
    path.write_bytes(b"")
    assert verify(bench, plugin, tmp_path).code == 0
    assert path.read_bytes() == b"", "nothing was mended"
    shutil.rmtree(tmp_path / "results" / "corrupted")
    assert verify(bench, plugin, tmp_path).code == 0
    assert not (tmp_path / "results" / "corrupted").exists()
    (tmp_path / "results" / "corrupted").write_text("")
    found = verify(bench, plugin, tmp_path)
    assert found.code == 0
    assert "fog@severity-5: 60 of 60 predictions verified" in found.out


def test_a_disk_that_cannot_be_written_is_no_disagreement(
    run: Bench, bench: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*FOG, "--limit", "60")
    (tmp_path / "full").write_text("")
    monkeypatch.setattr("bench.cli.verify.tempfile.tempdir", str(tmp_path / "full"))
    found = verify(bench, plugin, tmp_path)
    assert found.code == 2
    assert "no temporary folder for corrupted images" in found.err


def test_a_cell_that_is_not_of_these_images_disagrees(run: Bench, bench: Bench, plugin: Path, tmp_path: Path) -> None:
    """A cache whose manifest vouches for other images made the cell; what it says is found out."""
    run(*FOG, "--limit", "60")
    shutil.rmtree(tmp_path / "results" / "runs")
    (path,) = (tmp_path / "results").glob("corrupted/*/fog.npy")
    stacked = np.load(path)
    np.save(path, np.random.default_rng(0).integers(0, 256, stacked.shape, np.uint8))
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"]["fog.npy"]["sha256"] = sha256(path)
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    run(*FOG, "--limit", "60")
    found = verify(bench, plugin, tmp_path)
    assert found.code == 1
    assert "DISAGREES" in found.out


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
