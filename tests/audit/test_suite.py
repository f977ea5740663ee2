"""Test the choice of a run's cells, images and budget for the audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from records import cell_record, run_record, samples_of

from bench.attacks.registry import ATTACKS, AttackEntry, resolve
from bench.audit.suite import Budget, by_budget, claim, gradient_attacks, ladder, most_informative, outcomes_on
from bench.core.records import EvalRecord
from bench.leaderboard.rows import board_rows
from bench.results.precedence import common_size
from bench.results.store import Store

RUN = run_record()


def cell(attack: str, correct: list[bool], *, version: int = 1, code_sha: str = "", **params: int) -> EvalRecord:
    record = cell_record(RUN, attack, correct)
    assert record.spec.attack is not None
    made = dataclasses.replace(record.spec.attack, params=params, version=version, code_sha=code_sha)
    spec = dataclasses.replace(record.spec, attack=made)
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


def names(pair: tuple[str, str]) -> tuple[str, ...]:
    """Without the budget."""
    return tuple(name.partition("@")[0] for name in pair)


def test_clean_failed_and_smaller_cells_do_not_count() -> None:
    short, long = cell("fgsm", [True] * 2), dataclasses.replace(cell("fgsm", [True] * 4), created="2025")
    failed = dataclasses.replace(cell("pgd-20", [True]), status="failed", n_correct=None)
    found = by_budget([cell_record(RUN, "clean", [True] * 4), short, long, failed])
    assert found == {Budget("linf", 0.1): [long]}


def test_the_suite_is_made_of_the_numbers_that_the_board_has() -> None:
    """A newer version of an attack counts before more images of the older one, in both."""
    old, new = cell("fgsm", [True] * 9), cell("fgsm", [True] * 4, version=2)
    (row,) = board_rows([(RUN, old), (RUN, new)])
    assert row.cells["fgsm@linf-0.1"] == {0: new}
    assert by_budget([old, new]) == by_budget([new, old]) == {Budget("linf", 0.1): [new]}


def test_outcomes_are_those_of_the_images_asked_for(tmp_path: Path) -> None:
    store, correct = Store(tmp_path), [True, False, True, False]
    store.write_run(RUN, None)
    whole, part = cell("fgsm", correct), cell("pgd-20", correct[:2])
    for record, verdicts in ((whole, correct), (part, correct[:2])):
        store.write_cell(record, samples_of(verdicts))
    whole, part = (store.read_cell(RUN.run_id, record.cell_id) for record in (whole, part))
    found = outcomes_on(store, [whole, part], ["3", "0"])
    assert list(found) == ["fgsm@linf-0.1"], "a cell that lacks an image says nothing of it"
    assert found["fgsm@linf-0.1"].tolist() == [True, False]
    assert claim(outcomes_on(store, [whole, part], ["0", "1"])) == 50.0


def test_only_gradients_are_held_against_what_needs_none() -> None:
    cells = [cell(name, [True]) for name in ("fgsm", "pgd-20", "square", "autoattack", "apgd-ce", "pgd-margin-20")]
    fed = dataclasses.replace(cells[1], spec=dataclasses.replace(cells[1].spec, filters=("x",)))
    assert set(names(gradient_attacks(cells))) == {"fgsm", "pgd-20", "apgd-ce", "pgd-margin-20"}
    assert gradient_attacks([fed]) == (), "what another attack fed is no witness"


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_that_follows_gradients_is_held_so(name: str) -> None:
    """An ensemble with Square is not: which of its images Square broke is not recorded."""
    attack = resolve(name)
    params = attack.spec(attack.entry.norms[0], 0.1, batch_size=8).params
    backwards = attack.entry.cost(params, 10).backwards > 0
    with_square = ("autoattack", "autoattack-plus", "robust")
    assert bool(gradient_attacks([cell(name, [True])])) == (backwards and name not in with_square)


@pytest.fixture
def registered() -> Iterator[None]:
    """Two attacks of a plug-in, which are named alike and declare other traits."""
    entry = AttackEntry(summary="s", source="s", function="m:f", uses_gradient=True, family="pgd", params={"steps": 9})
    ATTACKS.register("pgd-theirs", entry, origin="a plug-in")
    free = dataclasses.replace(entry, uses_gradient=False, family="")
    ATTACKS.register("pgd-blackbox", free, origin="a plug-in")
    yield
    for name in ("pgd-theirs", "pgd-blackbox"):
        ATTACKS.remove(name)


@pytest.mark.usefixtures("registered")
def test_a_plug_ins_attack_is_treated_like_a_built_in() -> None:
    """By the traits that it declares."""
    theirs = cell("pgd-theirs", [True], code_sha="x", steps=9)
    assert names(gradient_attacks([theirs])) == ("pgd-theirs",)
    assert [names(pair) for pair in ladder([theirs, cell("fgsm", [True])])] == [("fgsm", "pgd-theirs")]


@pytest.mark.usefixtures("registered")
def test_the_name_of_a_plug_in_does_not_say_what_it_follows() -> None:
    theirs = cell("pgd-blackbox", [True], code_sha="x", steps=9)
    assert gradient_attacks([theirs]) == ()
    assert ladder([theirs, cell("fgsm", [True])]) == ()


@pytest.mark.parametrize("name", ["pgd-unknown", "pgd-20"])
def test_nothing_is_said_of_a_plug_in_that_is_not_loaded(name: str) -> None:
    """Nor is it taken for a built-in attack of its name."""
    theirs = cell(name, [True], code_sha="x", steps=9)
    assert gradient_attacks([theirs]) == ()
    assert ladder([theirs, cell("fgsm", [True])]) == ()


def test_the_ladder_is_one_walk_in_rising_steps() -> None:
    cells = [
        cell("pgd-50-r5", [True], steps=50, restarts=5),
        cell("fgsm", [True]),
        cell("pgd-20", [True], steps=20, restarts=1),
        cell("pgd-margin-20", [True], steps=20, restarts=1),
        cell("apgd-ce", [True]),
    ]
    pairs = [names(pair) for pair in ladder(cells)]
    assert pairs == [("fgsm", "pgd-20"), ("fgsm", "pgd-50-r5"), ("pgd-20", "pgd-50-r5")]


@pytest.mark.parametrize(
    ("few", "many"),
    [((1, 50), (20, 1)), ((10, 10), (40, 1)), ((5, 5), (20, 1)), ((1, 1), (1, 1)), ((20, 1), (20, 5))],
)
def test_steps_for_restarts_is_no_order(few: tuple[int, int], many: tuple[int, int]) -> None:
    """On honest networks each of them breaks a few images that the other does not."""
    pair = [cell(f"pgd-{steps}-r{r}", [True], steps=steps, restarts=r) for steps, r in (few, many)]
    assert ladder(pair) == ()


def test_one_step_of_pgd_is_no_more_than_fgsm() -> None:
    assert ladder([cell("fgsm", [True]), cell("pgd-1", [True], steps=1, restarts=1)]) == ()


def test_an_attack_that_a_bound_has_cut_is_no_rung() -> None:
    """PGD after five passes breaks less than FGSM on any network, and nothing is masked by that."""
    cut = cell("pgd-20", [True], steps=20, restarts=1, max_queries=5)
    assert ladder([cell("fgsm", [True]), cut, cell("pgd-9", [True], steps=9, restarts=1)]) == (
        ("fgsm@linf-0.1", "pgd-9@linf-0.1"),
    )


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
    found = most_informative({Budget("linf", eps): value for eps, value in claims.items()}, clean=96.0)
    assert found.eps == wanted


@pytest.mark.parametrize(
    ("sizes", "wanted"), [([500, 64], 64), ([500, 500], 200), ([500, 2], 200), ([40, 20], 20), ([], 200)]
)
def test_the_images_that_all_cells_have(sizes: list[int], wanted: int) -> None:
    """A cell of two images does not hold the others down to two."""
    assert common_size([cell("fgsm", [True] * size) for size in sizes], 200) == wanted
