"""A results folder in the form of a baseline."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from records import audit_record, cell_record, run_record, samples_of, store_with
from torch import nn

from bench.core.errors import BenchError
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import AttackSpec, CorruptionSpec
from bench.external.identity import weights_sha
from bench.gate.snapshot import NO_WEIGHTS, choose, take_snapshot
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.results.per_image import Sample
from bench.results.store import Store

FGSM = "fgsm@linf-0.1"


def test_every_cell_with_the_outcome_of_every_image(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True, True, False], "fgsm": [False, True, False]}})
    run = take_snapshot(store).runs[0]
    assert (run.dataset, run.model, run.variant, run.seed) == ("digits", "tiny", "baseline", 0)
    assert set(run.cells) == {"clean", FGSM}
    assert run.cells[FGSM].counts.tolist() == [0, 1, 0]
    assert run.cells["clean"].accuracy == pytest.approx(2 / 3)
    assert run.cells["clean"].images == run.cells[FGSM].images


def write(store: Store, run: RunRecord, cell: EvalRecord, right: list[bool]) -> None:
    cell = dataclasses.replace(cell, cell_id=cell.spec.cell_id)
    store.write_cell(cell, samples_of(right))


def test_the_definition_holds_what_makes_the_number(tmp_path: Path) -> None:
    run, store = run_record(), Store(tmp_path)
    store.write_run(run, None)
    attack = AttackSpec(name="pgd-7", norm="linf", eps=0.1, version=3, params={"steps": 7}, precision="bf16")
    for backend, seed in (("native", 0), ("reference", 0)):
        cell = cell_record(run, "pgd-7", [True, False])
        spec = dataclasses.replace(cell.spec, attack=dataclasses.replace(attack, backend=backend), seed=seed)
        write(store, run, dataclasses.replace(cell, spec=spec, created=f"2026-01-0{len(backend)}"), [True, False])
        found = take_snapshot(store).runs[0].cells["pgd-7@linf-0.1"].definition
        assert (found["version"], found["steps"], found["precision"]) == (3, 7, "bf16")
        assert found["backend"] == ("b" if backend == "native" else "b 1")


def corrupted(run: RunRecord, kind: str, severity: int, right: list[bool], **made: Any) -> EvalRecord:
    cell = cell_record(run, "clean", right)
    spec = CorruptionSpec(**{"kind": kind, "severity": severity, "source": "generated", "profile": "cifar", **made})
    return dataclasses.replace(cell, spec=dataclasses.replace(cell.spec, corruption=spec))


def test_the_standard_corruptions_are_one_metric_and_others_their_own(tmp_path: Path) -> None:
    run, store = run_record(), Store(tmp_path)
    store.write_run(run, None)
    for number, kind in enumerate(STANDARD_KINDS):
        for severity in range(1, 6):
            right = [True, number < 3, False]
            write(store, run, corrupted(run, kind, severity, right), right)
    write(store, run, corrupted(run, "spatter", 1, [True, True, True]), [True, True, True])
    cells = take_snapshot(store).runs[0].cells
    assert set(cells) == {"corruptions_acc", "spatter@severity-1"}
    assert cells["corruptions_acc"].counts.tolist() == [75, 15, 0]
    assert cells["corruptions_acc"].accuracy == pytest.approx(90 / 225)


@pytest.mark.parametrize("other", [{"seed": 1}, {"version": 2}, {"profile": "imagenet"}, {"files_sha": "f"}])
def test_other_corrupted_images_are_another_definition(tmp_path: Path, other: dict[str, Any]) -> None:
    found = []
    for made in ({}, other):
        run, store = run_record(), Store(tmp_path / str(len(made)))
        store.write_run(run, None)
        write(store, run, corrupted(run, "fog", 1, [True], **made), [True])
        found.append(take_snapshot(store).runs[0].cells["fog@severity-1"].definition)
    assert found[0] != found[1]


def test_a_failed_cell_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True], "fgsm": [True]}})
    run = store.runs()[0]
    cell = next(cell for cell in store.cells(run.run_id) if cell.spec.attack)
    store.write_cell(
        dataclasses.replace(cell, status="failed", reason="attack_error", message="it broke", n_correct=None), None
    )
    snapshot = take_snapshot(store)
    assert set(snapshot.runs[0].cells) == {"clean"}
    assert snapshot.failures == {("digits tiny:baseline:0", FGSM): "failed: attack_error (it broke)"}
    with pytest.raises(BenchError, match="it broke"):
        choose(snapshot, ())
    assert set(choose(snapshot, ["clean"])[0].cells) == {"clean"}
    with pytest.raises(BenchError, match="it broke"):
        choose(snapshot, ["fgsm"])


def test_labels_are_part_of_the_images(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True, False]}})
    before = take_snapshot(store).runs[0].cells["clean"].images
    run = store.runs()[0]
    cell = store.cells(run.run_id)[0]
    store.write_cell(cell, [Sample("0", 1, 1, 1, None), Sample("1", 0, 1, 1, None)])
    assert take_snapshot(store).runs[0].cells["clean"].images != before


def test_flags_and_the_verdict_of_the_audit(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True], "fgsm": [True]}})
    assert take_snapshot(store).runs[0].audit is None
    run = store.runs()[0]
    store.write_audit(audit_record(run, scale_masking=7.5))
    found = take_snapshot(store).runs[0]
    assert (found.audit, found.flags) == ("flagged", ("scale_masking",))


def test_two_trainings_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True]}})
    run = store.runs()[0]
    assert run.spec is not None
    longer = dataclasses.replace(run.spec, recipe=dataclasses.replace(run.spec.recipe, epochs=9))
    other = dataclasses.replace(run, spec=longer, run_id=longer.run_id, config_sha=longer.config_sha, epochs=9)
    store.write_run(other, None)
    cell = cell_record(other, "clean", [False])
    store.write_cell(cell, samples_of([False]))
    with pytest.raises(BenchError, match=r"2 runs with the name digits tiny:baseline:0 .* by --run"):
        take_snapshot(store)
    assert take_snapshot(store, [other.run_id]).runs[0].cells["clean"].right == 0


def test_a_name_without_a_seed_means_all_seeds(tmp_path: Path) -> None:
    cells = {"clean": [True]}
    store = store_with(tmp_path, {("baseline", 0): cells, ("baseline", 1): cells, ("lpc", 0): cells})
    assert {run.seed for run in take_snapshot(store, ["tiny:baseline"]).runs} == {0, 1}
    assert [run.variant for run in take_snapshot(store, ["tiny:lpc:0"]).runs] == ["lpc"]
    with pytest.raises(BenchError, match="no run 'tiny:none'"):
        take_snapshot(store, ["tiny:none"])


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no cells"):
        take_snapshot(Store(tmp_path))


def test_a_misspelt_pattern_is_told(tmp_path: Path) -> None:
    snapshot = take_snapshot(store_with(tmp_path, {("baseline", 0): {"clean": [True]}}))
    with pytest.raises(BenchError, match="unknown cell 'claen'; did you mean 'clean'"):
        choose(snapshot, ["claen"])


def test_a_network_that_hides_its_weights_is_known_by_what_it_does(tmp_path: Path) -> None:
    """Two of them have the same hash of no weights; without this they would be one network."""
    found = []
    for behaviour in ("one", "other"):
        store = Store(tmp_path / behaviour)
        run = dataclasses.replace(run_record(), weights_sha=NO_WEIGHTS, config_sha=behaviour, spec=None)
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", [True]), samples_of([True]))
        found.append(take_snapshot(store).runs[0].weights_sha)
    assert len(set(found)) == 2
    assert weights_sha(nn.ReLU()) == NO_WEIGHTS
