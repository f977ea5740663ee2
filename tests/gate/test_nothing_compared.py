"""Every way in which nothing is compared ends in a failure: of the gate itself, and of ``bench check``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import store_with
from sides import baseline, cell, now, run

from bench.gate.check import check, unchecked
from bench.gate.lines import passed
from bench.gate.rules import WEIGHTS, Rules
from bench.gate.snapshot import Snapshot, take_snapshot
from bench.gate.verdict import Verdict
from bench.store import Store

RIGHT = [True] * 300 + [False] * 100
WORSE = [False] * 60 + RIGHT[60:]


def fine(before: Any, after: Snapshot, rules: Rules) -> bool:
    return all(passed(line, rules) for line in check(before, after, rules))


def test_tolerances_that_swallow_everything_fail() -> None:
    same = run(clean=cell(RIGHT), fgsm=cell(RIGHT))
    assert fine(baseline(same), now(same), Rules(tolerances={"clean": 100}))  # fgsm can still fail
    assert not fine(baseline(same), now(same), Rules(tolerances={"clean": 100, "fgsm": 100}))
    last = check(baseline(same, clean=100, fgsm=100), now(same), Rules())[-1]
    assert (last.name, last.verdict) == ("all runs", Verdict.FAIL)
    assert "nothing was compared" in last.why


def test_a_baseline_with_nothing_to_lose_fails_and_its_line_says_so() -> None:
    zero = run(fgsm=cell([0] * 400))
    lines = check(baseline(zero), now(zero), Rules())
    assert "passes whatever the model answers" in lines[0].why
    assert not fine(baseline(zero), now(zero), Rules())
    assert fine(baseline(zero), now(zero), Rules(floors={"fgsm": 1})) is False


def test_images_that_are_too_few_to_fail_are_no_comparison_where_doubt_is_allowed() -> None:
    """Six lost images have p = 1/64 > 0.01: at most NOT ENOUGH EVIDENCE."""
    for count, compared in ((6, False), (7, True)):
        few = run(clean=cell([1] * count))
        assert fine(baseline(few), now(few), Rules())  # what is undecided fails, so that a loss would show
        assert fine(baseline(few), now(few), Rules(allow_inconclusive=True)) is compared


def test_other_weights_alone_fail_even_where_doubt_is_allowed() -> None:
    before, after = baseline(run(clean=cell(RIGHT))), now(run(weights="v", clean=cell(RIGHT)))
    assert not fine(before, after, Rules(allow_inconclusive=True))
    assert "scope 'weights' compares these files" in check(before, after, Rules())[0].why


@pytest.mark.parametrize("scope", ["recipe", "weights"])
def test_a_model_at_chance_never_passes(scope: Any) -> None:
    same = run(clean=cell(RIGHT), fgsm=cell(RIGHT))
    after = Snapshot((same,), {}, {"digits tiny:baseline:0": "no better than chance"})
    rules = Rules(floors={"fgsm": 1}, scope=scope, allow_inconclusive=True)
    lines = check(baseline(same), after, rules)
    assert [line.verdict for line in lines if line.metric != "audit"] == [Verdict.FAIL] * 3
    assert all("no better than chance on clean images" in line.why for line in lines if line.metric != "audit")


def test_one_seed_at_chance_fails_the_comparison_over_seeds() -> None:
    before = baseline(*(run(seed, clean=cell(RIGHT)) for seed in range(5)))
    after = [run(seed, "v", clean=cell(RIGHT)) for seed in range(5)]
    assert fine(before, now(*after), Rules(tolerances={"clean": 20}))
    at_chance = Snapshot(tuple(after), {}, {"digits tiny:baseline:3": "no better than chance"})
    lines = check(before, at_chance, Rules(tolerances={"clean": 20}))
    assert lines[0].verdict is Verdict.FAIL
    assert "seed 3 is no better than chance" in lines[0].why


def test_the_snapshot_knows_models_at_chance(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True, False] * 200}, ("lpc", 0): {"clean": RIGHT}})
    assert list(take_snapshot(store).at_chance) == ["digits tiny:baseline:0"]


@pytest.mark.parametrize("scope", ["recipe", "weights"])
def test_a_seed_that_the_baseline_does_not_hold_is_unchecked(scope: Any) -> None:
    """Beside an unchanged one a worse network would otherwise go through unseen."""
    after = now(run(clean=cell(RIGHT)), run(1, clean=cell(WORSE)))
    assert unchecked(baseline(run(clean=cell(RIGHT))), after, Rules(scope=scope)) == ["digits tiny:baseline:1 clean"]


def test_two_files_of_weights_are_compared_image_by_image() -> None:
    before = baseline(run(clean=cell(RIGHT)))
    rules = Rules(scope=WEIGHTS)
    for seed in (0, 7):  # two files alone are partners whatever their seeds
        worse = check(before, now(run(seed, "v", clean=cell(WORSE))), rules)[0]
        assert (worse.verdict, worse.lost, worse.gained) == (Verdict.FAIL, 60, 0)
        assert worse.size == "400 images, other weights"
        assert "of these files, not of the recipe" in worse.why
    same = check(before, now(run(0, "v", clean=cell(RIGHT))), rules)[0]
    assert (same.verdict, same.before, same.after) == (Verdict.PASS, 0.75, 0.75)


def test_files_of_several_seeds_are_paired_by_seed_and_a_missing_one_fails() -> None:
    before = baseline(*(run(seed, clean=cell(RIGHT)) for seed in range(3)))
    after = now(*(run(seed, "v", clean=cell(RIGHT)) for seed in (0, 1, 5)))
    rules = Rules(scope=WEIGHTS)
    assert [line.verdict for line in check(before, after, rules) if line.metric == "clean"] == [
        Verdict.PASS, Verdict.PASS, Verdict.FAIL,
    ]  # fmt: skip
    assert unchecked(before, after, rules) == ["digits tiny:baseline:5 clean"]


@pytest.mark.parametrize(
    ("floor", "verdict", "why"),
    [
        (60, Verdict.PASS, "at or above the floor"),
        (75, Verdict.PASS, "lower confidence bound is 69."),
        (75.1, Verdict.FAIL, "upper confidence bound is 79."),
        (90, Verdict.FAIL, "below the floor"),
    ],
)
def test_floors(floor: float, verdict: Verdict, why: str) -> None:
    """300 of 400 images; the measured value decides, and a bound on the other side of the floor is told."""
    same = run(clean=cell(RIGHT), pgd=cell(RIGHT))
    lines = check(baseline(same), now(same), Rules(floors={"pgd": floor}))
    found = [line for line in lines if line.floor is not None]
    assert [(line.metric, line.verdict, line.before, line.after) for line in found] == [("pgd", verdict, 0.75, 0.75)]
    assert why in found[0].why
    assert ("only known" in found[0].why) == ("only known" in why)


def test_a_floor_holds_for_every_network_and_for_what_is_missing() -> None:
    before = baseline(*(run(seed, clean=cell(RIGHT), pgd=cell(RIGHT)) for seed in range(5)))
    after = [run(seed, "v", clean=cell(RIGHT), pgd=cell(WORSE if seed == 2 else RIGHT)) for seed in range(4)]
    after.append(run(4, "v", clean=cell(RIGHT)))
    lines = check(before, now(*after), Rules(floors={"pgd": 70}))
    floors = {line.name[-1]: line for line in lines if line.floor is not None}
    assert [floors[seed].verdict is Verdict.PASS for seed in "01234"] == [True, True, False, True, False]
    assert floors["4"].why == "missing: the run has no such cell"
    gone = check(before, now(), Rules(floors={"pgd": 70}))
    assert [line.verdict for line in gone if line.floor is not None] == [Verdict.FAIL]
    failed = now(*after[:1], failures={("digits tiny:baseline:0", "pgd"): "failed: attack_error"})
    found = [line for line in check(before, failed, Rules(floors={"pgd": 70})) if line.floor is not None]
    assert found[0].why == "failed: attack_error"


def test_a_flagged_accuracy_is_an_upper_bound_and_shows_no_floor() -> None:
    flagged = run(clean=cell(RIGHT), pgd=cell(RIGHT), flags=["order"], audit="flagged")
    lines = check(baseline(flagged), now(flagged), Rules(floors={"pgd": 70, "clean": 70}))
    assert {line.metric: line.verdict for line in lines if line.floor is not None} == {
        "pgd": Verdict.UNDECIDED, "clean": Verdict.PASS,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, bench: Callable[..., Any]) -> Path:
    store_with(tmp_path / "before", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    path = tmp_path / "baseline.json"
    assert bench("baseline", "--update", "--baseline", path, "--results", tmp_path / "before").code == 0
    return path


def retrained(folder: Path, fgsm: list[bool]) -> Store:
    """The run again with other weights."""
    store = store_with(folder, {("baseline", 0): {"clean": RIGHT, "fgsm": fgsm}})
    found = store.runs()[0]
    store.write_run(dataclasses.replace(found, weights_sha="other"), None)
    for record in store.cells(found.run_id):
        store.write_cell(dataclasses.replace(record, weights_sha="other"), store.read_samples(record))
    return store


def test_the_command_compares_files_on_request(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    for fgsm, code in ((RIGHT, 0), (WORSE, 1)):
        retrained(tmp_path / "after", fgsm)
        arguments = ["check", "--baseline", file, "--results", tmp_path / "after"]
        assert bench(*arguments, "--allow-inconclusive").code == 1
        shown = bench(*arguments, "--scope", "weights")
        assert shown.code == code
        assert "do not say that the training recipe is better or worse" in shown.out
        assert ("bench baseline --update" in shown.err) == bool(code)
        assert bench(*arguments, "--scope", "weights", "--json").json["scope"] == "weights"


@pytest.mark.parametrize(
    ("options", "code", "where", "text"),
    [
        (["--floor", "fgsm=75"], 0, "out", "floor 75"),
        (["--floor", "fgsm=75.1,clean=70"], 1, "out", "below the floor"),
        (["--floor", "pgd=1"], 2, "err", "unknown floor 'pgd'"),
        (["--floor", "fgsm=0"], 2, "err", "is not of the form NAME=PERCENT, above 0"),
        (["--floor", "fgsm=nan"], 2, "err", "is not of the form"),
        (["--tolerance", "fgsm=100,clean=100"], 1, "out", "nothing was compared"),
        (["--scope", "both"], 2, "err", "'both' is not one of"),
        (["--alpha", "nan"], 2, "err", "alpha"),
    ],
)
def test_options_of_the_command(
    tmp_path: Path, bench: Callable[..., Any], file: Path, options: list[str], code: int, where: str, text: str
) -> None:
    shown = bench("check", "--baseline", file, "--results", tmp_path / "before", *options)
    assert shown.code == code
    assert text in getattr(shown, where)


def test_a_command_on_a_model_at_chance(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_with(tmp_path / "r", {("baseline", 0): {"clean": [True, False] * 200, "fgsm": [True, False] * 200}})
    arguments = ["--baseline", tmp_path / "b.json", "--results", tmp_path / "r"]
    shown = bench("baseline", "--update", *arguments)
    assert "is no better than chance: a check of such a model always fails" in shown.err
    shown = bench("check", *arguments)
    assert shown.code == 1
    assert shown.out.count("no better than chance on clean images") == 2


def test_a_run_without_a_chosen_cell_is_no_part_of_a_baseline(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_with(tmp_path / "r", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}, ("lpc", 0): {"clean": RIGHT}})
    shown = bench(
        "baseline", "--update", "--baseline", tmp_path / "b.json", "--results", tmp_path / "r", "--cells", "fgsm"
    )
    assert shown.code == 2
    assert "digits tiny:lpc:0: there is no such cell" in shown.err


def test_cells_without_images_are_never_a_pass(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store_with(tmp_path / "none", {("baseline", 0): {"clean": [], "fgsm": []}})
    shown = bench("check", "--baseline", file, "--results", tmp_path / "none")
    assert shown.code == 2
    assert "is ok on no image" in shown.err


def test_an_image_is_counted_once(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    """Ten copies of the same image would look like the evidence of ten."""
    store = store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    record = store.cells(store.runs()[0].run_id)[0]
    store.write_cell(record, store.read_samples(record)[:1] * 300 + store.read_samples(record)[300:])
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after")
    assert shown.code == 2
    assert "counts an image twice" in shown.err


def test_a_line_without_evidence_fails_beside_others_that_compare() -> None:
    before = baseline(run(clean=cell(RIGHT)), run(variant="lpc", clean=cell(RIGHT)))
    after = now(run(clean=cell(RIGHT)), run(variant="lpc", weights="v", clean=cell(RIGHT)))
    assert not fine(before, after, Rules(allow_inconclusive=True))
