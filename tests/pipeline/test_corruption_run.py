"""Corruptions from the command line to the tables."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.apply import CORRUPTIONS
from bench.cli import invoke
from bench.results.store import Store

Bench = Callable[..., Any]
SMALL = ("--attacks", "none", "--epochs", "1", "--no-diagnose", "--limit", "20")


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    def call(*arguments: object, variants: str = "baseline,lpc") -> Any:
        fixed = ("--plugin", plugin, "--models", "tiny", "--variants", variants, "--results", tmp_path)
        return bench("run", *fixed, *SMALL, *arguments)

    return call


def leaderboard(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "leaderboard.csv").set_index("variant")


def results(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.csv")
    return table[table.corruption.notna()]


@pytest.fixture
def above_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of one epoch guess, and a baseline that guesses is no reference for an mCE."""
    for module in ("leaderboard.rows", "results.precedence"):
        monkeypatch.setattr(f"bench.{module}.is_at_chance", lambda run, clean: False)


@pytest.fixture(scope="module")
def standard(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a baseline and an LPC model on the corruptions that are the default. Tests copy it."""
    folder = tmp_path_factory.mktemp("standard")
    fixed = ["--plugin", str(plugin), "--models", "tiny", "--results", str(folder)]
    assert invoke(["run", *fixed, *SMALL, "--audit", "none"]) == 0  # the fixture ``bench`` takes the default away
    return folder


@pytest.fixture
def copied(standard: Path, bench: Bench, tmp_path: Path) -> None:
    """Make a copy of that folder where the fixture ``run`` writes to, and write its tables again."""
    shutil.copytree(standard, tmp_path, dirs_exist_ok=True)
    assert bench("leaderboard", "--results", tmp_path).code == 0


@pytest.mark.usefixtures("above_chance", "copied")
def test_the_standard_kinds_are_on_the_board_by_default(run: Bench, bench: Bench, tmp_path: Path) -> None:
    cells, board = results(tmp_path), leaderboard(tmp_path)
    assert len(cells) == 2 * 15 * 5
    assert set(cells.source) == {"generated"}
    assert set(cells.profile) == {"cifar"}
    assert cells.attack.isna().all()
    for variant in ("baseline", "lpc"):
        mine = cells[cells.variant == variant]
        assert board.corruptions_acc[variant] == pytest.approx(100 * mine.acc.mean(), abs=0.006)
        assert board.severity_5_acc[variant] == pytest.approx(100 * mine[mine.severity == 5].acc.mean(), abs=0.006)
        weather = mine[mine.corruption.isin(["snow", "frost", "fog", "brightness"])]
        assert board.weather_acc[variant] == pytest.approx(100 * weather.acc.mean(), abs=0.006)
        fog = mine[mine.corruption == "fog"]
        assert board.fog_acc[variant] == pytest.approx(100 * fog.acc.mean(), abs=0.006)
    errors = 1 - cells.groupby(["variant", "corruption"]).acc.mean()
    assert board.mce["baseline"] == 100
    assert board.mce["lpc"] == pytest.approx(100 * (errors["lpc"] / errors["baseline"]).mean(), abs=0.006)
    assert board.corruptions_acc_n.tolist() == [20, 20]
    unaggregated = pd.read_csv(tmp_path / "corruptions.csv", header=[0, 1], index_col=0)
    assert unaggregated.shape == (2, 75)
    assert unaggregated.loc["tiny:lpc:0"].mean() == pytest.approx(board.corruptions_acc["lpc"] / 100, abs=1e-4)
    again = run("--corruptions", "standard")
    assert "nothing to do" in again.err
    verified = bench("verify", "tiny:lpc", "--results", tmp_path)
    assert verified.code == 0, verified.out
    assert "fog@severity-5: 20 of 20 predictions verified" in verified.out


def test_a_part_of_the_kinds_has_no_mean_of_all(run: Bench, tmp_path: Path) -> None:
    assert run("--corruptions", "fog,speckle_noise", "--severities", "1,5").code == 0
    board = leaderboard(tmp_path)
    assert len(results(tmp_path)) == 2 * 2 * 2
    means = ("corruptions_acc", "mce", "rel_mce", "weather_acc", "severity_1_acc", "fog_acc")
    assert board[list(means)].isna().all(axis=None)
    assert board.mce_note.str.startswith("mce, rel_mce: 2 of the 75 standard cells have an accuracy").all()
    assert run("--corruptions", "fog").code == 0
    assert leaderboard(tmp_path).fog_acc.notna().all()


@pytest.mark.usefixtures("copied")
def test_without_a_baseline_there_is_a_reason_in_place_of_an_mce(run: Bench, bench: Bench, tmp_path: Path) -> None:
    (baseline,) = [found.run_id for found in Store(tmp_path).runs() if found.variant == "baseline"]
    shutil.rmtree(tmp_path / "runs" / baseline)
    assert bench("leaderboard", "--results", tmp_path).code == 0
    board = leaderboard(tmp_path)
    assert board.mce.isna().all()
    assert "no baseline with this backbone" in board.mce_note["lpc"]
    assert bench("leaderboard", "--results", tmp_path, "--mce-reference", "alexnet").code == 0
    board = leaderboard(tmp_path)
    assert board.mce.isna().all()
    assert "for ImageNet-C" in board.mce_note["lpc"]
    assert run("--corruptions", "standard", "--corruption-profile", "imagenet", variants="lpc").code == 0
    assert bench("leaderboard", "--results", tmp_path, "--mce-reference", "alexnet").code == 0
    board = leaderboard(tmp_path)
    assert board.mce.notna().all()
    assert board.mce_reference["lpc"] == "alexnet"
    assert board.corruptions_set["lpc"] == "generated:imagenet"


@pytest.mark.usefixtures("above_chance", "copied")
def test_of_two_sets_of_images_one_counts_for_the_whole_row(run: Bench, tmp_path: Path) -> None:
    """A part of another set takes nothing away; a whole one that is later counts."""
    before, csv = leaderboard(tmp_path), (tmp_path / "corruptions.csv").read_bytes()
    assert run("--corruptions", "fog", "--severities", "5", "--corruption-profile", "imagenet").code == 0
    assert leaderboard(tmp_path).equals(before)
    assert (tmp_path / "corruptions.csv").read_bytes() == csv
    assert set(results(tmp_path).profile) == {"cifar", "imagenet"}
    assert run("--corruptions", "standard", "--corruption-profile", "imagenet").code == 0
    board = leaderboard(tmp_path)
    assert board[["corruptions_acc", "fog_acc", "mce"]].notna().all(axis=None)
    assert set(board.corruptions_set) == {"generated:imagenet"}
    assert run("--corruptions", "standard", "--corruption-profile", "tiny_imagenet", variants="lpc").code == 0
    board = leaderboard(tmp_path)
    assert board.mce["baseline"] == 100
    assert "on the same images" in board.mce_note["lpc"]
    assert board.corruptions_acc.notna().all()
    assert np.isnan(board.corruptions_acc_diff["lpc"])


def test_corruptions_take_no_place_and_leave_no_table_behind(run: Bench, tmp_path: Path) -> None:
    learned = ("--epochs", "4", "--train-limit", "all", "--limit", "60")  # what guesses has no place anyhow
    run(*learned)
    run(*learned, "--corruptions", "fog", variants="lpc")
    assert leaderboard(tmp_path)["rank"].notna().all()
    assert (tmp_path / "corruptions.csv").exists()
    run("--force")
    run("--force", "--epochs", "2")
    for cell in tmp_path.glob("runs/*/cells/*.json"):
        if '"kind": "fog"' in cell.read_text():
            cell.unlink()
    run("--seeds", "1")
    assert not (tmp_path / "corruptions.csv").exists()


def test_rows_say_what_makes_them_incomparable(run: Bench, tmp_path: Path) -> None:
    run("--corruptions", "fog,frost", "--severities", "1", variants="baseline")
    notes = results(tmp_path).set_index("corruption").notes
    assert "not comparable with published sets: constants of 32 px images, lengths scaled to 8 px" in notes["fog"]
    used = photographs.find_installed()
    assert (f"photographs of {used.package} {used.version}" if used else "synthetic") in notes["frost"]
    assert "synthetic" not in notes["fog"]


@pytest.fixture
def forgetful() -> Iterator[None]:
    photographs.search.cache_clear()
    yield
    photographs.search.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_photographs_that_come_and_go(
    run: Bench, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frost of photographs and that of a texture are two cells, each with its note."""
    if photographs.find_installed() is None:
        pytest.skip("no package with the photographs of frost is installed")
    asked = ("--corruptions", "fog,frost", "--severities", "2")
    with monkeypatch.context() as without:
        without.setattr(photographs, "PACKAGES", ())
        photographs.search.cache_clear()
        run(*asked, variants="baseline")
        assert "all 3 cells are already stored" in run(*asked, variants="baseline").err
        assert list(results(tmp_path).files_sha.isna()) == [True, True]
    photographs.search.cache_clear()
    assert "1 of 3 cells computed" in run(*asked, variants="baseline").err
    found = results(tmp_path).set_index("corruption").loc["frost"].set_index("files_sha")
    used = photographs.find_installed()
    assert used is not None
    assert f"photographs of {used.package} {used.version}" in found.notes[photographs.FILES_SHA]
    assert "synthetic" in found.notes[np.nan]
    (run_id,) = set(found.run_id)
    verified = bench("verify", run_id, "--results", tmp_path)
    assert verified.code == 0
    assert verified.out.count("frost@severity-2: 20 of 20 predictions verified") == 2
    with monkeypatch.context() as without:
        without.setattr(photographs, "PACKAGES", ())
        photographs.search.cache_clear()
        assert "all 3 cells are already stored" in run(*asked, variants="baseline").err
        lines = bench("verify", run_id, "--results", tmp_path).out
        assert lines.count("frost@severity-2: 20 of 20 predictions verified") == 1
        assert lines.count("photographs that are not installed; not verified") == 1


def test_every_model_sees_the_same_images(run: Bench, tmp_path: Path) -> None:
    run("--corruptions", "fog", "--severities", "1", "--seeds", "0,1")
    assert len(list((tmp_path / "corrupted").iterdir())) == 1


def test_corrupt_writes_all_files_and_mixes_no_sets(bench: Bench, tmp_path: Path) -> None:
    """The whole test split, as CIFAR-10-C has it."""
    out = tmp_path / "written"
    assert bench("corrupt", "--dataset", "digits", "--out", out).code == 0
    files = {path.stem for path in out.glob("*.npy")}
    assert files == {*CORRUPTIONS, "labels"}
    stacked = np.load(out / "fog.npy", mmap_mode="r")
    assert stacked.dtype == np.uint8
    assert len(stacked) == len(np.load(out / "labels.npy"))
    assert len(stacked) % 5 == 0
    assert len(stacked) < 5 * len(load_digits().target)
    other = bench("corrupt", "--dataset", "digits", "--kinds", "fog", "--seed", "7", "--out", out)
    assert other.code == 2
    assert "of other images, constants or seed" in other.err


def test_files_are_read_in_place_of_making_images(run: Bench, bench: Bench, tmp_path: Path) -> None:
    """A part of the split, whose rows lie anywhere in the files; one kind's file holds another kind's images."""
    files, asked = tmp_path / "files", ("--corruptions", "fog,pixelate,snow", "--severities", "1,4")
    asked += ("--epochs", "40", "--limit", "60")
    assert bench("corrupt", "--dataset", "digits", "--kinds", "fog,pixelate", "--out", files).code == 0
    (files / "snow.npy").write_bytes((files / "fog.npy").read_bytes())
    assert run(*asked, "--corruptions-dir", files, variants="baseline").code == 0
    assert run(*asked, variants="baseline").code == 0
    table = results(tmp_path).set_index(["source", "corruption", "severity"])
    made, read = table.loc["generated"], table.loc["official"]
    assert made.n_correct.nunique() > 3, "a model that tells images apart"
    assert read.n_correct.loc[["fog", "pixelate"]].equals(made.n_correct.loc[["fog", "pixelate"]])
    assert read.n_correct.loc["snow"].equals(read.n_correct.loc["fog"])
    assert not read.official.any(), "nobody has published them"
    assert read.files_sha.loc["fog"].tolist() == 2 * [hashlib.md5((files / "fog.npy").read_bytes()).hexdigest()]
    assert made.files_sha.isna().all()
    assert leaderboard(tmp_path).corruptions_set["baseline"] == "official:cifar"
    (files / "manifest.json").unlink()  # which knows the file as it was
    np.save(files / "fog.npy", 255 - np.load(files / "fog.npy"))
    assert "2 of 7 cells computed" in run(*asked, "--corruptions-dir", files, variants="baseline").err


def test_wrong_words_are_one_sentence(run: Bench, bench: Bench, tmp_path: Path) -> None:
    for arguments, says in (
        (("--corruptions", "frog"), "did you mean 'fog'"),
        (("--severities", "6", "--corruptions", "fog"), "severity '6' is unknown; use 1, 2, 3, 4 or 5"),
        (("--corruption-profile", "cifr", "--corruptions", "fog"), "did you mean 'cifar'"),
        (("--corruptions-dir", tmp_path / "none", "--corruptions", "fog"), "is not a folder"),
    ):
        found = run(*arguments)
        assert found.code == 2
        assert says in found.err
        assert "Traceback" not in found.err
    assert not list(tmp_path.glob("runs/*"))  # nothing was trained before the mistake was seen
