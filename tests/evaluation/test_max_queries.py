"""``--max-queries``: the row of a bounded attack is its own, and says how many searches were cut."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.attacks.registry import ATTACKS, AttackEntry

Bench = Callable[..., Any]


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    def call(*arguments: object) -> Any:
        options = ("--models", "tiny", "--limit", "60", "--train-limit", "all", "--epochs", "4", "--eps", "0.03")
        defaults = [*options, "--no-diagnose", "--plugin", plugin, "--variants", "baseline", "--results", tmp_path]
        return bench("run", *defaults, *arguments)

    return call


def rows(results: Path) -> dict[str, dict[str, str]]:
    with (results / "results.csv").open() as file:
        return {row["attack"]: row for row in csv.DictReader(file)}


def shared(row: dict[str, str]) -> dict[str, str]:
    return {column: value for column, value in row.items() if column.startswith(("robust_acc_lowest", "broken_by"))}


def test_a_bounded_row_does_not_look_like_the_whole_attack(run: Bench, tmp_path: Path) -> None:
    assert run("--attacks", "pgd-5-r2,fgsm").code == 0
    before = rows(tmp_path)
    assert run("--attacks", "pgd-5-r2,fgsm", "--max-queries", "3").code == 0
    found = rows(tmp_path)
    assert set(found) == {"clean", "fgsm", "fgsm-q3", "pgd-5-r2", "pgd-5-r2-q3"}
    for name, row in before.items():  # and the whole ones stay as they are, but for what all attacks come to
        assert {**row, **shared(found[name])} == found[name]
    whole, bounded = found["pgd-5-r2"], found["pgd-5-r2-q3"]
    assert whole["n_truncated"] == ""
    assert whole["cell_id"] != bounded["cell_id"]
    survivors = int(bounded["n_correct"])
    assert int(bounded["n_truncated"]) == survivors >= int(whole["n_correct"]) > 0
    attacked = int(bounded["n_attacked"])
    assert int(bounded["n_forwards"]) <= 3 * attacked + (attacked - survivors)  # a break costs one more, to confirm it
    note = f"at most 3 forward passes per image: {survivors} of {bounded['n_attacked']} searches truncated"
    assert f"; {note}" in bounded["notes"]
    assert (found["fgsm-q3"]["n_truncated"], found["fgsm-q3"]["n_correct"]) == ("0", found["fgsm"]["n_correct"])
    with (tmp_path / "leaderboard.csv").open() as file:
        board = next(csv.DictReader(file))
    assert board["pgd-5-r2@linf-0.03"] != ""
    assert board["pgd-5-r2-q3@linf-0.03"] != ""


def test_enough_is_the_whole_attack(run: Bench, tmp_path: Path) -> None:
    run("--attacks", "pgd-5-r2")
    run("--attacks", "pgd-5-r2", "--max-queries", "12")
    whole, bounded = rows(tmp_path)["pgd-5-r2"], rows(tmp_path)["pgd-5-r2-q12"]
    for column in ("n_correct", "n_attacked", "max_distance"):
        assert whole[column] == bounded[column]
    # Unbounded, the second start of an image stands beside its first, and is in vain where that succeeds.
    assert int(whole["n_forwards"]) >= int(bounded["n_forwards"])
    assert bounded["n_truncated"] == "0"


def test_the_plan_shows_the_bound(run: Bench) -> None:
    outcome = run("--attacks", "autoattack", "--max-queries", "50", "--dry-run")
    assert "autoattack-q50@linf-0.03" in outcome.out


def test_an_attack_that_does_not_say_whom_it_cut_has_failed(run: Bench, tmp_path: Path) -> None:
    idle = ATTACKS.get("idle")
    if "mute" not in ATTACKS:
        entry = AttackEntry(summary="mute", source="tests", function=idle.function, uses_gradient=False, bounded=True)
        ATTACKS.register("mute", entry, origin="tests")
    assert run("--attacks", "mute", "--max-queries", "5").code == 3
    row = rows(tmp_path)["mute-q5"]
    assert (row["status"], row["acc"], row["n_truncated"]) == ("failed", "", "")
    assert "did not report which images" in row["notes"]
