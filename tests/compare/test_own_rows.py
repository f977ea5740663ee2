"""Records of ours that become lines, and the protocol of each line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from published_runs import N, attack, cell, corruptions, run_on, stored
from records import audit_record

from bench.compare.own_rows import stored_lines
from bench.compare.published_rows import board_protocol
from bench.compare.rows import CORRUPTIONS, DEEPFOOL, Line
from bench.compare.tables import compare
from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, EvalRecord, RunRecord

RUN = run_on()


def lines_of(folder: Path, *cells: EvalRecord, runs: tuple[RunRecord, ...] = (RUN,)) -> list[Line]:
    return [line for _, line in stored_lines(stored(folder, *cells, runs=runs))]


def failed(record: EvalRecord) -> EvalRecord:
    nothing = {"n": 0, "n_attacked": 0, "n_correct": None}
    return dataclasses.replace(record, status="failed", reason="out_of_memory", message="no room", **nothing)


def test_a_whole_run_is_under_robustbenchs_protocol(tmp_path: Path) -> None:
    cells = [cell(RUN, None, 9478), cell(RUN, attack(), 4321), *corruptions(RUN, 7346)]
    linf, corrupted = lines_of(tmp_path, *cells)
    assert (linf.clean, linf.robust, linf.protocol) == (94.78, 43.21, board_protocol("cifar10", "Linf"))
    assert (corrupted.clean, corrupted.robust) == (94.78, pytest.approx(73.46))
    assert corrupted.protocol == board_protocol("cifar10", "corruptions")
    assert (linf.model, linf.architecture, linf.source) == ("tiny:baseline", "tiny", "here, seed 0")
    assert not linf.published


def test_every_budget_is_a_line_and_autoattack_goes_first(tmp_path: Path) -> None:
    cells = [cell(RUN, None, 9000), cell(RUN, attack("pgd-20"), 100), cell(RUN, attack(), 200)]
    cells += [cell(RUN, attack("pgd-20", eps=4 / 255), 500), cell(RUN, attack("fgsm", eps=4 / 255), 900)]
    cells += [cell(RUN, attack("pgd-20", norm="l2", eps=0.5), 700)]
    protocols = [line.protocol for line in lines_of(tmp_path, *cells)]
    assert [(p.measure, p.norm, p.eps) for p in protocols] == [
        ("pgd-20", "l2", 0.5),
        ("pgd-20", "linf", 4 / 255),
        ("autoattack", "linf", 8 / 255),
    ]


def test_an_attack_that_leaves_less_than_autoattack_counts_in_its_place(tmp_path: Path) -> None:
    cells = [cell(RUN, attack(), 4000), cell(RUN, attack("fgsm"), 4500)]
    cells.append(cell(RUN, attack("pgd-20"), 3000, flags=("randomised",)))
    few = cell(RUN, attack("square"), 10, n=1000)  # of 1000 images, of which it breaks 990
    other = cell(RUN, attack("pgd-20", eps=16 / 255), 5)
    *_, line = [found for found in lines_of(tmp_path, *cells, few, other) if found.protocol.measure == "autoattack"]
    assert (line.robust, line.autoattack, line.flags) == (20.1, 40.0, ("randomised",)), "3000 less 990, of 10,000"
    assert line.notes[-1] == (
        "lowest known: AutoAttack leaves 40.00; broken by autoattack@linf-8/255 6000; fgsm@linf-8/255 5500; "
        "pgd-20@linf-8/255 7000 (1000 alone); square@linf-8/255 990 (990 alone)"
    )


def test_rows_of_one_split_show_the_same_attack(tmp_path: Path) -> None:
    """Were it each row's lowest, theirs would stand in two tables."""
    other = run_on(variant="lpc")
    cells = [cell(run, attack(name), right) for run, name, right in (
        (RUN, "fgsm", 500), (RUN, "pgd-20", 100), (other, "fgsm", 50), (other, "pgd-20", 90),
    )]  # fmt: skip
    assert {line.protocol.measure for line in lines_of(tmp_path, *cells, runs=(RUN, other))} == {"pgd-20"}


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (cell(RUN, attack(), 10, n=1000), "n", 1000),
        (cell(RUN, attack(), 10, official=False), "official", False),
        (cell(RUN, attack(), 10, protocol="prefiltered"), "protocol", "prefiltered"),
        (cell(RUN, attack(precision="bf16"), 10), "precision", "bf16"),
        (cell(RUN, attack(params={"max_queries": 500}), 10), "measure", "autoattack-q500"),
        (cell(RUN, attack("pgd-20"), 10), "measure", "pgd-20"),
        (cell(RUN, attack(eps=4 / 255), 10), "eps", 4 / 255),
    ],
)
def test_what_departs_is_in_the_protocol(tmp_path: Path, record: EvalRecord, field: str, value: object) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), record)
    assert line.protocol == dataclasses.replace(board_protocol("cifar10", "Linf"), **{field: value})


def test_clean_images_that_are_not_official_speak_against_all(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000, official=False), cell(RUN, attack(), 10))
    assert not line.protocol.official


def test_one_corrupted_file_that_is_not_official_speaks_against_all(tmp_path: Path) -> None:
    cells = corruptions(RUN, 7000)
    cells[40] = dataclasses.replace(cells[40], official=False)
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), *cells)
    assert not line.protocol.official
    assert line.protocol.cells == 75


def test_generated_corruptions_say_so(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), *corruptions(RUN, 7000, source="generated"))
    assert (line.protocol.source, line.protocol.profile) == ("generated", "cifar")


def test_rows_on_different_corrupted_images_or_attacks_are_not_ranked_together(tmp_path: Path) -> None:
    """They differ in constants, in the definition of one kind, or in the version of an attack of one name."""
    other = run_on(variant="lpc")
    ours = corruptions(RUN, 7000, source="generated")
    every: list[dict[str, Any]] = [{"profile": "imagenet"}, {"version": 2}, {"seed": 1}, {"files_sha": "x"}]
    for changes in every:
        theirs = corruptions(other, 8000, source="generated")
        whole_set = not changes.keys().isdisjoint(("profile", "seed"))
        for i in range(len(theirs) if whole_set else 5):  # the severities of one kind
            corruption = theirs[i].spec.corruption
            assert corruption is not None
            theirs[i] = cell(other, dataclasses.replace(corruption, **changes), 8000)
        folder = tmp_path / next(iter(changes))
        assert titles(folder, *ours, *theirs, runs=(RUN, other)) == 2, changes
    assert titles(tmp_path / "same", *ours, *corruptions(other, 8000, source="generated"), runs=(RUN, other)) == 1
    attacked = [cell(RUN, attack(), 4000), cell(other, attack(version=2), 5000)]
    assert titles(tmp_path / "attacks", *attacked, runs=(RUN, other)) == 2
    attacked[1] = cell(other, attack(), 5000)
    assert titles(tmp_path / "same attacks", *attacked, runs=(RUN, other)) == 1


def titles(folder: Path, *cells: EvalRecord, runs: tuple[RunRecord, ...]) -> int:
    """Return the number of tables, which have different titles, of runs with equal clean accuracies."""
    tables = compare(stored_lines(stored(folder, *(cell(run, None, 9000) for run in runs), *cells, runs=runs)), [])
    found = [table.title for table in tables]
    assert len(set(found)) == len(found)
    return len(found)


def test_some_corruptions_have_no_mean(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), *corruptions(RUN, 7000)[:-1])
    assert (line.protocol.cells, line.robust) == (74, None)


def test_the_mean_over_corruptions_is_that_of_all_cells(tmp_path: Path) -> None:
    cells = corruptions(RUN, 5000)
    cells[0] = dataclasses.replace(cells[0], n_correct=N)
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), *cells)
    assert line.robust == pytest.approx(50 + 50 / 75)
    assert line.protocol.measure == CORRUPTIONS


def test_a_failed_cell_is_no_number_but_a_line(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), failed(cell(RUN, attack(), 0)))
    assert (line.robust, line.bound) == (None, "")
    assert line.notes == ("1 cell not ok (failed: out_of_memory)",)
    assert line.protocol == board_protocol("cifar10", "Linf")


def test_several_seeds_are_a_mean_and_say_how_many(tmp_path: Path) -> None:
    runs = tuple(run_on(seed=seed) for seed in (0, 1))
    cells = [cell(run, made, right) for run, pair in zip(runs, ((9000, 4000), (9100, 4300)), strict=True)
             for made, right in zip((None, attack()), pair, strict=True)]  # fmt: skip
    (line,) = lines_of(tmp_path, *cells, runs=runs)
    assert (line.clean, line.robust) == (pytest.approx(90.5), pytest.approx(41.5))
    assert line.source == "here, mean of 2 seeds"


def test_a_seed_that_lacks_the_cell_takes_the_mean_away(tmp_path: Path) -> None:
    runs = tuple(run_on(seed=seed) for seed in (0, 1))
    cells = [cell(run, None, 9000) for run in runs]
    (line,) = lines_of(tmp_path, *cells, cell(runs[0], attack(), 4000), runs=runs)
    assert line.robust is None
    assert line.notes[0] == "not all seeds have a result on the same number of images"


def test_seeds_on_different_numbers_of_images_have_no_mean(tmp_path: Path) -> None:
    runs = tuple(run_on(seed=seed) for seed in (0, 1))
    cells = [cell(run, None, 9000) for run in runs]
    cells += [cell(runs[0], attack(), 4000), cell(runs[1], attack(), 400, n=1000)]
    (line,) = lines_of(tmp_path, *cells, runs=runs)
    assert (line.robust, line.protocol.n) == (None, 1000)


def test_what_an_audit_found_is_a_flag(tmp_path: Path) -> None:
    store = stored(tmp_path, cell(RUN, None, 9000), cell(RUN, attack(), 4000), runs=(RUN,))
    store.write_audit(audit_record(RUN, black_box_stronger=7.0))
    ((_, line),) = stored_lines(store)
    assert (line.flags, line.bound) == (("black_box_stronger",), "≤")
    assert line.notes == ("computed by b 1", "audit: black_box_stronger=7.0pt")


def test_a_flag_of_any_cell_is_a_flag(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, cell(RUN, None, 9000), cell(RUN, attack(), 4000, flags=("randomised",)))
    assert line.flags == ("randomised",)
    assert line.notes == ("computed by b 1", "audit: none")


def test_deepfool_is_its_published_definition(tmp_path: Path) -> None:
    store = stored(tmp_path, cell(RUN, None, 9000), runs=(RUN,))
    store.write_diagnosis(DiagnosisRecord(
        run_id=RUN.run_id, weights_sha=RUN.weights_sha, version=DIAGNOSIS_VERSION, status="ok", reason="", message="",
        images={"deepfool_n": 1000}, values={"deepfool_rho_authors": 0.25, "deepfool_rho_boundary": 0.1}, undefined={},
        time_s=1.0, created="", environment=RUN.environment,
    ))  # fmt: skip
    ((_, line),) = stored_lines(store)
    assert (line.clean, line.robust) == (90.0, 0.25)
    assert (line.protocol.measure, line.protocol.n) == (DEEPFOOL, 1000)


def test_a_failed_diagnosis_of_a_seed_leaves_the_number_of_images(tmp_path: Path) -> None:
    """The ratio is that of the other seed, whose number of images is known."""
    runs = (RUN, run_on(seed=1))
    store = stored(tmp_path, *(cell(run, None, 9000) for run in runs), runs=runs)
    for run, values in zip(runs, ({"deepfool_rho_authors": 0.25}, {}), strict=True):
        store.write_diagnosis(DiagnosisRecord(
            run_id=run.run_id, weights_sha=run.weights_sha, version=DIAGNOSIS_VERSION, reason="", message="",
            status="ok" if values else "failed", images={"deepfool_n": 1000} if values else {}, values=values,
            undefined={}, time_s=1.0, created="", environment=run.environment,
        ))  # fmt: skip
    ((_, line),) = stored_lines(store)
    assert (line.robust, line.protocol.n) == (0.25, 1000)
    assert line.notes == ("mean over 1 seed only",)


@pytest.mark.parametrize("fault", ["failed", "one seed of two"])
def test_a_row_whose_audit_is_incomplete_says_so(fault: str, tmp_path: Path) -> None:
    runs = (RUN, run_on(seed=1))
    cells = [made for run in runs for made in (cell(run, None, 9000), cell(run, attack(), 4000))]
    store = stored(tmp_path, *cells, runs=runs)
    store.write_audit(audit_record(RUN))
    if fault == "failed":
        store.write_audit(dataclasses.replace(audit_record(runs[1]), status="failed", reason="out_of_memory"))
    ((_, line),) = stored_lines(store)
    assert line.audit_lacks
    store.write_audit(audit_record(runs[1]))
    ((_, line),) = stored_lines(store)
    assert not line.audit_lacks


def test_one_run_alone(tmp_path: Path) -> None:
    other = run_on(seed=1)
    cells = [cell(run, made, 4000) for run in (RUN, other) for made in (None, attack())]
    store = stored(tmp_path, *cells, runs=(RUN, other))
    ((_, line),) = stored_lines(store, other)
    assert line.source == "here, seed 1"
