"""Which of a run's cells are compared, on which images, and at which budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from records import cell_record, run_record, samples_of

from bench.auditing.suite import (
    Budget,
    by_budget,
    claim,
    common_size,
    gradient_attacks,
    ladder,
    most_telling,
    outcomes_on,
)
from bench.core.specs import EvalRecord
from bench.store import Store

RUN = run_record()


def cell(attack: str, correct: list[bool], **params: int) -> EvalRecord:
    record = cell_record(RUN, attack, correct)
    assert record.spec.attack is not None
    spec = dataclasses.replace(record.spec, attack=dataclasses.replace(record.spec.attack, params=params))
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


def test_clean_failed_and_smaller_cells_do_not_count() -> None:
    short, long = cell("fgsm", [True] * 2), dataclasses.replace(cell("fgsm", [True] * 4), created="2025")
    failed = dataclasses.replace(cell("pgd-20", [True]), status="failed", n_correct=None)
    found = by_budget([cell_record(RUN, "clean", [True] * 4), short, long, failed])
    assert found == {Budget("linf", 0.1): [long]}


def test_outcomes_are_those_of_the_images_asked_for(tmp_path: Path) -> None:
    store, correct = Store(tmp_path), [True, False, True, False]
    store.write_run(RUN, None)
    whole, part = cell("fgsm", correct), cell("pgd-20", correct[:2])
    for record, verdicts in ((whole, correct), (part, correct[:2])):
        store.write_cell(record, samples_of(verdicts))
    found = outcomes_on(store, [whole, part], ["3", "0"])
    assert list(found) == ["fgsm@linf-0.1"], "a cell that lacks an image says nothing of it"
    assert found["fgsm@linf-0.1"].tolist() == [True, False]
    assert claim(outcomes_on(store, [whole, part], ["0", "1"])) == 50.0


def test_only_gradients_are_held_against_what_needs_none() -> None:
    cells = [cell(name, [True]) for name in ("fgsm", "pgd-20", "square", "autoattack", "apgd-ce", "pgd-margin-20")]
    fed = dataclasses.replace(cells[1], spec=dataclasses.replace(cells[1].spec, filters=("x",)))
    names = {name.partition("@")[0] for name in gradient_attacks(cells)}
    assert names == {"fgsm", "pgd-20", "apgd-ce", "pgd-margin-20"}
    assert gradient_attacks([fed]) == (), "what another attack fed is no witness"


def test_the_ladder_is_one_walk_in_rising_steps() -> None:
    cells = [
        cell("pgd-50-r5", [True], steps=50, restarts=5),
        cell("fgsm", [True]),
        cell("pgd-20", [True], steps=20, restarts=1),
        cell("pgd-margin-20", [True], steps=20, restarts=1),
        cell("apgd-ce", [True]),
    ]
    assert [name.partition("@")[0] for name in ladder(cells)] == ["fgsm", "pgd-20", "pgd-50-r5"]
    again = [cell("pgd-60", [True], steps=60, restarts=1), cell("pgd-20-r5", [True], steps=20, restarts=5)]
    assert [name.partition("@")[0] for name in ladder(again)] == ["pgd-60", "pgd-20-r5"], "a restart is steps, too"


def test_an_attack_that_a_bound_has_cut_is_no_rung() -> None:
    """PGD after five passes breaks less than FGSM on any network, and nothing is masked by that."""
    cells = [cell("fgsm", [True]), cell("pgd-20", [True], steps=20, restarts=1, max_queries=5)]
    assert [name.partition("@")[0] for name in ladder(cells)] == ["fgsm"]


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({0.1: 40.0, 0.2: 5.0}, 0.1),
        ({0.1: 90.0, 0.2: 60.0, 0.3: 45.0}, 0.3),
        ({0.1: 97.0, 0.2: 97.0}, 0.2),
        ({0.1: 0.0, 0.2: 0.0}, 0.2),
    ],
)
def test_the_budget_with_room_for_doubt(claims: dict[float, float], wanted: float) -> None:
    found = most_telling({Budget("linf", eps): value for eps, value in claims.items()}, clean=96.0)
    assert found.eps == wanted


@pytest.mark.parametrize(
    ("sizes", "wanted"), [([500, 64], 64), ([500, 500], 200), ([500, 2], 200), ([40, 20], 20), ([], 200)]
)
def test_the_images_that_all_cells_have(sizes: list[int], wanted: int) -> None:
    """A cell of two images does not hold the others down to two."""
    assert common_size([cell("fgsm", [True] * size) for size in sizes], 200) == wanted
