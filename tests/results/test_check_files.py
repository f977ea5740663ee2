"""``bench verify --all``: finds each changed, missing or damaged file, and goes on after it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from records import audit_record, cell_record, run_record, samples_of
from stored_runs import corrupted_cell, corrupted_set

from bench.core.records import RunRecord
from bench.core.seals import sealed
from bench.core.specs import short_id
from bench.results.check_files import check_files
from bench.results.store import Store
from bench.runtime.claims import CLAIMS
from bench.training.precision_trial import Case

Bench = Callable[..., Any]


def stored(store: Store, variant: str = "baseline") -> RunRecord:
    """A run with its weights, three cells, adversarial images and an audit."""
    run = dataclasses.replace(run_record(variant), weights_sha=hashlib.sha256(b"weights").hexdigest())
    store.write_run(run, b"weights")
    for attack in ("clean", "fgsm", "pgd"):
        record = cell_record(run, attack, [True, False])
        if attack == "pgd":
            record = dataclasses.replace(
                record, adversarials="float32", adversarials_sha=hashlib.sha256(b"images").hexdigest()
            )
        store.write_cell(record, samples_of([True, False]), b"images" if attack == "pgd" else None)
    store.write_audit(audit_record(run))
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    for variant in ("baseline", "lpc"):
        stored(store, variant)
    folder = store.root / "corrupted/abc"
    folder.mkdir(parents=True)
    (folder / "fog.npy").write_bytes(b"fog")
    entry = {"set": "s", "sha256": hashlib.sha256(b"fog").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"files": {"fog.npy": entry}}))
    return store


def test_a_sound_folder_has_no_problem(store: Store) -> None:
    told: list[str] = []
    report = check_files(store, told.append)
    assert (report.problems, report.n_runs, report.n_cells) == ([], 2, 6)
    assert report.n_files == 2 * (1 + 1 + 3 + 3 + 1 + 1) + 1, "run, weights, cells, outcomes, images, audit; corrupted"
    assert len(told) == 3


def test_a_damaged_choice_of_a_precision_is_a_problem(store: Store) -> None:
    choice = choice_of(store, "resnet18")
    assert check_files(store).problems == []
    choice.write_text(choice.read_text().replace("fp32", "bf16"))
    (problem,) = check_files(store).problems
    assert f"{choice} is damaged" in problem


def choice_of(store: Store, model: str, stem: Literal["native"] | None = None) -> Path:
    case = Case(model, 8, 16, stem=stem)
    values = {name: value for name, value in vars(case).items() if value is not None}
    path = store.root / f"precision/{short_id(values)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(sealed({"precision": "fp32", **values})))
    return path


def test_a_choice_that_was_replaced_by_another_one_is_a_problem(store: Store) -> None:
    first, second = choice_of(store, "resnet18"), choice_of(store, "resnet34")
    choice_of(store, "resnet18", "native")
    epochs = store.root / "epochs/abc.json"
    epochs.parent.mkdir()
    epochs.write_text(json.dumps(sealed({"epochs": 2, "case": "abc"})))
    assert check_files(store).problems == []
    first.write_bytes(second.read_bytes())
    epochs.rename(epochs.with_name("def.json"))
    problems = check_files(store).problems
    assert [problem.partition("; ")[0] for problem in problems] == [
        f"{path} is the outcome of another trial" for path in (first, epochs.with_name("def.json"))
    ]


@pytest.mark.parametrize("lost", ["fog.npy", "labels.npy", "manifest.json"])
def test_missing_corrupted_images_of_a_cell_are_a_problem(store: Store, lost: str) -> None:
    """Images that no cell uses may be missing: 'bench gc' deletes them."""
    run = stored(store, "arcface")
    store.write_cell(corrupted_cell(run, "fog"), samples_of([True, False]))
    folder = store.root / "corrupted/def"
    corrupted_set(folder)
    (folder / "snow.npy").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("fog.npy", "labels.npy"):
        manifest["files"][name]["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert check_files(store).problems == []
    (folder / lost).unlink()
    (problem,) = check_files(store).problems
    assert problem.startswith(f"{folder / lost} is missing; ")
    with CLAIMS.claim(folder / "claims", "work"):
        assert check_files(store).problems == []


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("lost", "says"), [("run.json", "the folder has 3 cells"), ("cells/*.json", "has its outcomes")]
)
def test_a_missing_record_is_a_problem_unless_a_process_works_there(store: Store, lost: str, says: str) -> None:
    folder = min((store.root / "runs").iterdir())
    path = min(folder.glob(lost))
    path.unlink()
    (problem,) = check_files(store).problems
    assert problem.startswith(f"{path} is missing; ")
    assert says in problem
    with CLAIMS.claim(folder / "claims", "work"):
        assert check_files(store).problems == []


@pytest.mark.parametrize(
    ("pattern", "change", "says"),
    [
        ("runs/*/weights.safetensors", damaged, "does not have the hash in run.json"),
        ("runs/*/weights.safetensors", Path.unlink, "is missing; run.json has its hash"),
        ("runs/*/cells/*.adversarials.safetensors", damaged, "does not have the hash in"),
        ("runs/*/cells/*.adversarials.safetensors", Path.unlink, "is missing"),
        ("runs/*/cells/*.samples.csv", Path.unlink, "cannot read"),
        ("runs/*/cells/*.samples.csv", lambda path: path.write_bytes(b"no outcomes"), "samples.csv"),
        ("runs/*/cells/*.json", lambda path: path.write_bytes(b"{"), "is damaged"),
        ("runs/*/run.json", lambda path: path.write_bytes(b"{"), "is damaged"),
        ("runs/*/audits/*.json", lambda path: path.write_bytes(b"{"), "is damaged"),
        ("corrupted/*/fog.npy", damaged, "does not have the hash in manifest.json"),
        ("corrupted/*/manifest.json", lambda path: path.write_bytes(b"{"), "is damaged; delete"),
    ],
)
def test_every_changed_file_is_one_problem(
    store: Store, pattern: str, change: Callable[[Path], object], says: str
) -> None:
    """A change of one file of each run is found in both runs."""
    folders = sorted(store.root.glob(pattern.rsplit("/", 1)[0]))
    for folder in folders:
        change(sorted(folder.glob(pattern.rsplit("/", 1)[1]))[0])
    problems = check_files(store).problems
    assert len(problems) == len(folders)
    assert all(says in problem for problem in problems), problems


def test_the_command_reports_all_and_fails(store: Store, bench: Bench) -> None:
    for path in store.root.glob("runs/*/weights.safetensors"):
        damaged(path)
    damaged(store.root / "corrupted/abc/fog.npy")
    outcome = bench("verify", "--all", "--results", store.root)
    assert outcome.code == 1
    *problems, summary = outcome.out.splitlines()
    assert len(problems) == 3
    assert all(line.startswith("PROBLEM ") for line in problems)
    assert summary == "2 runs, 6 cells and 21 files checked, 0 adversarial images verified again: 3 problems."
    found = bench("verify", "--all", "--results", store.root, "--json").json
    assert (found["agreed"], len(found["problems"]), found["files"]) == (False, 3, 21)


def test_images_that_cannot_be_verified_again_are_named(store: Store, bench: Bench) -> None:
    """The digits of these records are not the digits of the package. Hashes alone are not called verified."""
    outcome = bench("verify", "--all", "--results", store.root)
    assert outcome.code == 0
    first, second, summary = outcome.out.splitlines()
    assert first.startswith("not verified again: ")
    assert second.startswith("not verified again: ")
    assert summary.endswith("0 problems; the images of 2 runs were not verified again.")


def test_usage(store: Store, bench: Bench, tmp_path: Path) -> None:
    for arguments in (("verify",), ("verify", "lpc", "--all")):
        outcome = bench(*arguments, "--results", store.root)
        assert outcome.code == 2
        assert "give either a RUN or --all" in outcome.err
    assert bench("verify", "--all", "--results", tmp_path / "nothing").code == 2


def test_a_run_without_a_stored_network(store: Store) -> None:
    """A module that was given in Python is not stored. A failed training has no weights."""
    module = dataclasses.replace(run_record(), spec=None, run_id="0a1b2c3d4e5f", model="module")
    failed = dataclasses.replace(run_record("arcface"), status="failed", weights_sha="")
    store.write_run(module, None)
    store.write_run(failed, None)
    report = check_files(store)
    assert (report.problems, report.n_runs, len(report.runs)) == ([], 4, 2)


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", "a\0b", "x" * 300])
def test_a_manifest_names_files_of_its_own_folder_only(tmp_path: Path, name: str) -> None:
    store, folder = Store(tmp_path / "results"), tmp_path / "results" / "corrupted" / "0"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("")
    entry = {"set": "s", "sha256": "x"}
    (folder / "manifest.json").write_text(json.dumps({"files": {name: entry, "fog.npy": entry}}))
    (folder / "fog.npy").write_text("")
    assert [Path(problem.split()[0]) for problem in check_files(store).problems] == [folder / "fog.npy"]
