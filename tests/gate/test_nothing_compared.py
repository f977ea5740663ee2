"""Every way in which nothing is compared ends in a failure: of the gate itself, and of ``bench check``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import cell_record, remove_images, repeat_an_image, samples_of, store_with
from sides import baseline, cell, now, run

from bench.core.errors import BenchError
from bench.gate.checks import passed
from bench.gate.rules import WEIGHTS, Rules
from bench.gate.run_checks import check, unchecked
from bench.gate.snapshot import Snapshot, take_snapshot
from bench.gate.verdict import Verdict
from bench.results.store import Store

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
    assert "no check can fail" in last.why


def test_a_baseline_with_nothing_to_lose_fails_and_its_line_says_so() -> None:
    zero = run(fgsm=cell([0] * 400))
    lines = check(baseline(zero), now(zero), Rules())
    assert "cannot fail: no drop can exceed the tolerance" in lines[0].why
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


def guessing(store: Store) -> Store:
    """State that half of the images are of one class."""
    for found in store.runs():
        for record in store.cells(found.run_id):
            correct = [sample.correct for sample in store.read_samples(record)]
            half = record.n // 2
            store.write_cell(dataclasses.replace(record, n_majority=half), samples_of(correct, half))
    return store


def test_the_snapshot_knows_models_at_chance(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": [True, False] * 200}, ("lpc", 0): {"clean": RIGHT}})
    guessing(store)
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
        assert (worse.verdict, worse.n_regressed, worse.n_improved) == (Verdict.FAIL, 60, 0)
        assert worse.size == "400 images, different weights"
        assert "holds for these files, not for the recipe" in worse.why
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
    assert ("confidence bound" in found[0].why) == ("confidence bound" in why)


def test_a_floor_holds_for_every_network_and_for_what_is_missing() -> None:
    before = baseline(*(run(seed, clean=cell(RIGHT), pgd=cell(RIGHT)) for seed in range(5)))
    after = [run(seed, "v", clean=cell(RIGHT), pgd=cell(WORSE if seed == 2 else RIGHT)) for seed in range(4)]
    after.append(run(4, "v", clean=cell(RIGHT)))
    lines = check(before, now(*after), Rules(floors={"pgd": 70}))
    floors = {line.name[-1]: line for line in lines if line.floor is not None}
    assert [floors[seed].verdict is Verdict.PASS for seed in "01234"] == [True, True, False, True, False]
    assert floors["4"].why == "missing: the run has no cell of this metric"
    gone = check(before, now(), Rules(floors={"pgd": 70}))
    assert [line.verdict for line in gone if line.floor is not None] == [Verdict.FAIL]
    failed = now(*after[:1], failures={("digits tiny:baseline:0", "pgd"): "failed: attack_error"})
    found = [line for line in check(before, failed, Rules(floors={"pgd": 70})) if line.floor is not None]
    assert found[0].why == "failed: attack_error"


def test_a_flagged_accuracy_is_an_upper_bound_and_shows_no_floor() -> None:
    flagged = run(clean=cell(RIGHT), pgd=cell(RIGHT), flags=["weaker_attack_stronger"], audit="flagged")
    lines = check(baseline(flagged), now(flagged), Rules(floors={"pgd": 70, "clean": 70}))
    assert {line.metric: line.verdict for line in lines if line.floor is not None} == {
        "pgd": Verdict.UNDECIDED, "clean": Verdict.PASS,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, bench: Callable[..., Any]) -> Path:
    store_with(tmp_path / "before", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    path = tmp_path / "baseline.json"
    assert bench("baseline", "write", "--baseline", path, "--results", tmp_path / "before").code == 0
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
        assert "do not show that the training recipe is better or worse" in shown.out
        assert ("bench baseline write" in shown.err) == bool(code)
        assert bench(*arguments, "--scope", "weights", "--json").json["scope"] == "weights"


@pytest.mark.parametrize(
    ("options", "code", "where", "text"),
    [
        (["--floor", "fgsm=75"], 0, "out", "floor 75"),
        (["--floor", "fgsm=75.1,clean=70"], 1, "out", "below the floor"),
        (["--floor", "pgd=1"], 2, "err", "unknown floor 'pgd'"),
        (["--floor", "fgsm=0"], 2, "err", "is not of the form NAME=PERCENT, above 0"),
        (["--floor", "fgsm=nan"], 2, "err", "is not of the form"),
        (["--floor", ""], 2, "err", "it is empty; write a value"),
        (["--tolerance", ","], 2, "err", "it is empty; write a value"),
        (["--tolerance", "fgsm=100,clean=100"], 1, "out", "no check can fail"),
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
    guessing(store_with(tmp_path / "r", {("baseline", 0): dict.fromkeys(("clean", "fgsm"), [True, False] * 200)}))
    arguments = ["--baseline", tmp_path / "b.json", "--results", tmp_path / "r"]
    shown = bench("baseline", "write", *arguments)
    assert "is no better than chance: a check of such a model always fails" in shown.err
    shown = bench("check", *arguments)
    assert shown.code == 1
    assert shown.out.count("no better than chance on clean images") == 2


def test_a_run_without_a_chosen_cell_is_no_part_of_a_baseline(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_with(tmp_path / "r", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}, ("lpc", 0): {"clean": RIGHT}})
    shown = bench(
        "baseline", "write", "--baseline", tmp_path / "b.json", "--results", tmp_path / "r", "--cells", "fgsm"
    )
    assert shown.code == 2
    assert "digits tiny:lpc:0: no cell matches" in shown.err


def test_cells_without_images_are_never_a_pass(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store = store_with(tmp_path / "none", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    remove_images(store)
    shown = bench("check", "--baseline", file, "--results", tmp_path / "none")
    assert shown.code == 2
    assert "has status ok but no images" in shown.err


def test_an_image_is_counted_once(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    """Ten copies of the same image would look like the evidence of ten."""
    store = store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    repeat_an_image(store)
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after")
    assert shown.code == 2
    assert "contains an image twice" in shown.err


def test_a_line_without_evidence_fails_beside_others_that_compare() -> None:
    before = baseline(run(clean=cell(RIGHT)), run(variant="lpc", clean=cell(RIGHT)))
    after = now(run(clean=cell(RIGHT)), run(variant="lpc", weights="v", clean=cell(RIGHT)))
    assert not fine(before, after, Rules(allow_inconclusive=True))


def test_a_failed_cell_that_the_baseline_does_not_hold_fails() -> None:
    """For known and new seeds and recipes; of the standard corruptions the line of their mean is enough."""
    held = baseline(run(clean=cell(RIGHT)))
    for name in ("digits tiny:baseline:0", "digits tiny:baseline:7", "digits tiny:lpc:0"):
        lines = check(held, now(run(clean=cell(RIGHT)), failures={(name, "pgd"): "failed: no_gradient"}), Rules())
        found = [line for line in lines if line.metric == "pgd"]
        assert [(line.name, line.verdict) for line in found] == [(name, Verdict.FAIL)]
        assert found[0].why == "failed: no_gradient; not in the baseline"
    failures = {("digits tiny:baseline:0", name): "failed" for name in ("fog@severity-1", "corruptions_acc")}
    lines = check(held, now(run(clean=cell(RIGHT)), failures=failures), Rules())
    assert [line.metric for line in lines if line.verdict is Verdict.FAIL] == ["corruptions_acc"]


def test_the_command_fails_for_a_failed_cell_that_the_baseline_does_not_hold(
    tmp_path: Path, bench: Callable[..., Any], file: Path
) -> None:
    store = store_with(tmp_path / "r", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    record = cell_record(store.runs()[0], "pgd", [])
    store.write_cell(dataclasses.replace(record, status="failed", reason="no_gradient", n_correct=None), None)
    shown = bench("check", "--baseline", file, "--results", tmp_path / "r")
    assert shown.code == 1
    assert "failed: no_gradient; not in the baseline" in shown.out


def retrained_twice(metric: Any, **dup: Any) -> tuple[Any, Snapshot]:
    """Five trainings before and after; seed 5 attacks the weights of seed 4 again and keeps ``metric``."""
    before = [run(seed, fgsm=cell(RIGHT)) for seed in range(5)]
    again = dataclasses.replace(run(5, **({"fgsm": metric} if metric else {})), weights_sha="v4")
    return baseline(*before), now(*(run(seed, "v", fgsm=cell(RIGHT)) for seed in range(5)), again, **dup)


def test_a_second_attack_seed_that_failed_fails_the_comparison_over_seeds() -> None:
    failures = {("digits tiny:baseline:5", "fgsm"): "failed: attack_error"}
    line = check(*retrained_twice(None, failures=failures), Rules())[0]
    assert (line.verdict, line.why) == (Verdict.FAIL, "seed 5: failed: attack_error")
    assert check(*retrained_twice(None), Rules())[0].verdict is Verdict.PASS  # fgsm was not asked for again


def test_a_second_attack_seed_counts_where_it_breaks_more() -> None:
    """75 % of four trainings and 0 % of the fifth are 60 %; another order of the runs changes nothing."""
    held, after = retrained_twice(cell([False] * 400))
    for runs in (after.runs, tuple(reversed(after.runs))):
        line = check(held, Snapshot(runs, {}), Rules())[0]
        assert line.verdict is not Verdict.PASS
        assert line.after == pytest.approx(0.6)
    held, after = retrained_twice(cell([True] * 100 + [False] * 100 + [True] * 200))  # 200 images withstand both
    assert check(held, after, Rules())[0].after == pytest.approx((4 * 0.75 + 0.5) / 5)


def test_a_missing_attack_seed_fails_the_comparison_over_seeds() -> None:
    """Fewer attack seeds break fewer images."""
    two = [dataclasses.replace(run(seed, fgsm=cell(RIGHT)), weights_sha=str(seed // 2)) for seed in range(10)]
    one = [run(seed, "v", fgsm=cell(RIGHT)) for seed in range(5)]
    line = check(baseline(*two), now(*one), Rules())[0]
    assert line.verdict is Verdict.FAIL
    assert "1 of the 2 attack seeds" in line.why
    assert check(baseline(*one), now(*two), Rules())[0].verdict is Verdict.PASS


def test_floors_hold_for_recipes_that_the_baseline_does_not_hold() -> None:
    after = now(run(clean=cell(RIGHT)), run(variant="lpc", clean=cell(WORSE)))
    lines = check(baseline(run(clean=cell(RIGHT))), after, Rules(floors={"clean": 70}))
    floors = {line.name: line.verdict for line in lines if line.floor is not None}
    assert floors == {"digits tiny:baseline:0": Verdict.PASS, "digits tiny:lpc:0": Verdict.FAIL}
    failed = now(run(clean=cell(RIGHT)), failures={("digits tiny:baseline:0", "pgd"): "failed: attack_error"})
    assert not fine(baseline(run(clean=cell(RIGHT))), failed, Rules(floors={"pgd": 70}))  # no unknown name


def test_an_audit_that_could_raise_no_flag_is_no_audit_that_passed() -> None:
    before, after = run(clean=cell(RIGHT)), run(clean=cell(RIGHT), audit="undecided")
    assert not fine(baseline(before), now(after), Rules(allow_inconclusive=True))
    assert fine(baseline(after), now(after), Rules())


def test_cells_of_one_name_that_were_measured_otherwise_are_listed(
    tmp_path: Path, bench: Callable[..., Any], file: Path
) -> None:
    """Only one of native and reference FGSM counts, and the other is listed; a repetition on fewer images is not."""
    store = store_with(tmp_path / "r", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    trained = store.runs()[0]
    again = cell_record(trained, "clean", RIGHT[:100])
    spec = dataclasses.replace(again.spec, limit=100)
    store.write_cell(dataclasses.replace(again, spec=spec, cell_id=spec.cell_id), samples_of(RIGHT[:100]))
    assert take_snapshot(store).replaced == {}
    other = cell_record(trained, "fgsm", WORSE)
    attack = dataclasses.replace(other.spec.attack, backend="reference")
    spec = dataclasses.replace(other.spec, attack=attack)
    created = "2025-01-01T00:00:00+00:00"
    other = dataclasses.replace(other, spec=spec, cell_id=spec.cell_id, created=created)
    store.write_cell(other, samples_of(WORSE))
    assert list(take_snapshot(store).replaced) == [("digits tiny:baseline:0", "fgsm@linf-0.1")]
    shown = bench("check", "--baseline", file, "--results", tmp_path / "r")
    assert shown.code == 0
    assert "not compared with the baseline: digits tiny:baseline:0 fgsm@linf-0.1 (ok, with version" in shown.err
    shown = bench("baseline", "write", "--baseline", tmp_path / "b.json", "--results", tmp_path / "r")
    assert "warning: not in the baseline: digits tiny:baseline:0 fgsm@linf-0.1" in shown.err


@pytest.mark.parametrize(("right", "n", "tolerance"), [(39, 40, 99.9), (390, 400, 98), (390, 400, 97.5)])
def test_a_tolerance_as_wide_as_the_accuracy_compares_nothing(right: int, n: int, tolerance: float) -> None:
    """Even if every image is lost the drop is within the tolerance, although its upper bound is not."""
    held, n_regressed = run(clean=cell([True] * right + [False] * (n - right))), run(clean=cell([False] * n))
    for after in (held, n_regressed):
        lines = check(baseline(held), now(after), Rules(tolerances={"clean": tolerance}, allow_inconclusive=True))
        assert not all(passed(line, Rules(allow_inconclusive=True)) for line in lines)
    narrow = check(baseline(held), now(held), Rules(tolerances={"clean": tolerance - 5}))
    assert all(passed(line, Rules()) for line in narrow)


def test_a_floor_that_is_a_fraction_is_refused() -> None:
    with pytest.raises(BenchError, match=r"floor clean=0.95 is below 1 %; floors are percentages"):
        Rules(floors={"clean": 0.95})
