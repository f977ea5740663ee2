"""A run beside its baseline: what is compared, how, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sides import baseline, cell, now, run

from bench.core.errors import BenchError
from bench.gate.checks import Check
from bench.gate.report import gate_data, gate_markdown, summary
from bench.gate.rules import Rules
from bench.gate.run_checks import check, unchecked
from bench.gate.verdict import Verdict

RIGHT = [1] * 300 + [0] * 100
WORSE = [0] * 60 + RIGHT[60:]


def lines(before: object, after: object, **tolerances: float) -> list[Check]:
    return check(before, after, Rules(tolerances=tolerances))


def only(before: object, after: object, metric: str = "clean", **tolerances: float) -> Check:
    found = [line for line in lines(before, after, **tolerances) if line.metric == metric]
    assert len(found) == 1
    return found[0]


def test_the_same_outcomes_pass() -> None:
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(RIGHT))))
    assert (found.verdict, found.why, found.before, found.after) == (Verdict.PASS, "no image changed", 0.75, 0.75)


def test_lost_images_are_counted_one_by_one() -> None:
    """The accuracy is the same: 20 lost, 20 gained."""
    other = [0] * 20 + [1] * 280 + [1] * 20 + [0] * 80
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(other))))
    assert (found.n_regressed, found.n_improved, found.verdict) == (20, 20, Verdict.UNDECIDED)
    assert found.before == found.after


def test_a_lost_share_fails() -> None:
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(WORSE))))
    assert found.verdict is Verdict.FAIL
    assert found.judgement is not None
    assert found.judgement.drop == pytest.approx(0.15)


def test_the_tolerance_of_the_command_line_comes_before_that_of_the_file() -> None:
    before, after = baseline(run(clean=cell(RIGHT)), clean=1.0), now(run(clean=cell(WORSE)))
    assert only(before, after).tolerance == 1.0
    assert only(before, after, clean=30.0).verdict is Verdict.PASS


def test_every_metric_and_the_audit_have_a_line() -> None:
    both = {"clean": cell(RIGHT), "pgd-20@linf-0.1": cell(WORSE)}
    found = lines(baseline(run(**both)), now(run(**both)))
    assert [line.metric for line in found] == ["clean", "pgd-20@linf-0.1", "audit"]


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (now(run(seed=0, variant="lpc", clean=cell(RIGHT))), "the results have no such run"),
        (now(run()), "no such cell"),
        (now(run(data="other", clean=cell(RIGHT))), "different test data: other here, d in the baseline"),
        (now(run(clean=cell(RIGHT, version=2))), "different settings: version is 2 here, 1 in the baseline"),
        (now(run(clean=cell(RIGHT, version=1, steps=5))), "steps is 5 here, not given in the baseline"),
        (
            now(run(clean=cell(RIGHT, images="j"))),
            "different images: 400 images on both sides, but with other ids, labels or order",
        ),
        (now(run(clean=cell(RIGHT[:200], images="j"))), "different images: 200 images here, 400 in the baseline"),
        (now(run(), failures={("digits tiny:baseline:0", "clean"): "failed: out_of_memory"}), "failed: out_of_memory"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_fails_with_its_own_sentence(after: object, why: str) -> None:
    """Even where the numbers are as good as before."""
    found = only(baseline(run(clean=cell(RIGHT))), after)
    assert found.verdict is Verdict.FAIL
    assert why in found.why


def test_a_failed_cell_that_an_older_one_stands_for_still_fails() -> None:
    failures = {("digits tiny:baseline:0", "clean"): "failed: attack_error"}
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(RIGHT)), failures=failures))
    assert found.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ({"flags": ["scale_masking"]}, "new: ⚑scale_masking"),
        ({"audit": None}, "the run has no audit, but the baseline has one"),
        ({"audit": "failed"}, "the audit failed"),
    ],
)
def test_a_new_flag_fails_although_no_image_changed(after: dict[str, object], why: str) -> None:
    found = lines(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(RIGHT), **after)))
    assert [line.verdict for line in found] == [Verdict.PASS, Verdict.FAIL]
    assert why in found[1].why


def test_a_flag_that_the_baseline_has_passes() -> None:
    flagged = run(clean=cell(RIGHT), flags=["weaker_attack_stronger"], audit="flagged")
    assert {line.verdict for line in lines(baseline(flagged), now(flagged))} == {Verdict.PASS}


def draws(accuracy: float, seeds: int, start: int = 0, weights: str = "w", number: int = 0) -> list:
    rng = np.random.default_rng((number, start))
    return [run(seed, weights, clean=cell(rng.random(400) < accuracy)) for seed in range(start, start + seeds)]


def test_other_weights_of_one_seed_are_never_judged_by_their_images() -> None:
    found = only(baseline(*draws(0.9, 1)), now(*draws(0.5, 1, weights="v")))
    assert found.verdict is Verdict.UNDECIDED
    assert "a recipe needs 5 trainings on each side, got 1 and 1" in found.why
    assert found.n_regressed is None


def test_other_weights_of_five_seeds_are_compared_over_seeds() -> None:
    before = baseline(*draws(0.9, 5))
    assert only(before, now(*draws(0.7, 5, weights="v", number=1))).verdict is Verdict.FAIL
    same = only(before, now(*draws(0.9, 5, weights="v", number=2)), clean=10.0)
    assert (same.verdict, same.size) == (Verdict.PASS, "5 and 5 seeds")


def test_seeds_of_other_numbers_are_other_weights() -> None:
    assert only(baseline(*draws(0.9, 5)), now(*draws(0.6, 6, start=5))).verdict is Verdict.FAIL


def test_one_retrained_seed_makes_all_of_them_a_comparison_over_seeds() -> None:
    """Four equal ones would otherwise hide it behind their own "no image changed"."""
    runs = draws(0.9, 5)
    mixed = [*runs[:4], run(4, "v", clean=cell([0] * 400))]
    found = only(baseline(*runs), now(*mixed))
    assert found.size == "5 and 5 seeds"
    assert found.verdict is not Verdict.PASS


def test_the_same_weights_under_another_seed_of_the_attack_are_compared_by_image() -> None:
    other = dataclasses.replace(run(clean=cell(WORSE)), seed=7)
    found = only(baseline(run(clean=cell(RIGHT))), now(other))
    assert (found.n_regressed, found.verdict) == (60, Verdict.FAIL)


def test_a_missing_seed_of_unchanged_weights_fails() -> None:
    runs = draws(0.9, 5)
    verdicts = [line.verdict for line in lines(baseline(*runs), now(*runs[:3])) if line.metric == "clean"]
    assert verdicts == [Verdict.PASS] * 3 + [Verdict.FAIL] * 2


def test_a_retrained_seed_on_other_images_fails() -> None:
    runs = draws(0.9, 5, weights="v")
    runs[2] = run(2, "v", clean=cell([1] * 300, images="j"))
    assert "seed 2: different images" in only(baseline(*draws(0.9, 5)), now(*runs)).why


def test_seeds_of_the_baseline_on_different_images_are_no_table() -> None:
    before = draws(0.9, 5)
    before[1] = run(1, clean=cell([1] * 400, images="j"))
    found = only(baseline(*before), now(*draws(0.9, 5, weights="v")))
    assert found.verdict is Verdict.FAIL
    assert "the baseline's seeds are not comparable" in found.why


def test_seeds_of_the_baseline_that_were_measured_otherwise_are_no_table() -> None:
    before = draws(0.9, 5)
    before[1] = run(1, clean=cell([1] * 400, version=2))
    found = only(baseline(*before), now(*draws(0.9, 5, weights="v")))
    assert "the baseline's seeds are not comparable" in found.why


def test_one_network_under_five_seeds_is_one_training() -> None:
    """Copies of one network show no spread over trainings, and their accuracy may be the best of many."""
    copies = [dataclasses.replace(found, weights_sha="the best") for found in draws(0.9, 5, weights="v")]
    found = only(baseline(*draws(0.9, 5)), now(*copies), clean=50.0)
    assert (found.verdict, found.why) == (Verdict.FAIL, "missing: 4 of the baseline's 5 trainings")
    both = [dataclasses.replace(found, weights_sha="one") for found in draws(0.9, 5)]
    found = only(baseline(*both), now(*draws(0.9, 5, weights="v")), clean=50.0)
    assert found.verdict is Verdict.UNDECIDED


def test_trainings_that_are_missing_fail() -> None:
    """They may be those that went wrong, and those that are left the best."""
    found = only(baseline(*draws(0.9, 8)), now(*draws(0.9, 6, weights="v")), clean=50.0)
    assert (found.verdict, found.why) == (Verdict.FAIL, "missing: 2 of the baseline's 8 trainings")
    assert only(baseline(*draws(0.9, 6)), now(*draws(0.9, 8, weights="v")), clean=50.0).verdict is Verdict.PASS


def test_what_the_baseline_does_not_hold_is_told() -> None:
    before = baseline(run(clean=cell(RIGHT)))
    after = now(run(clean=cell(RIGHT), fgsm=cell(WORSE)), run(variant="lpc", clean=cell(WORSE)))
    assert unchecked(before, after, Rules()) == ["digits tiny:baseline:0 fgsm", "digits tiny:lpc:0 clean"]
    assert unchecked(before, now(run(seed=3, clean=cell(RIGHT))), Rules()) == []


def test_where_nothing_was_audited_there_is_no_line_on_it() -> None:
    both = run(clean=cell(RIGHT), audit=None)
    assert [line.metric for line in lines(baseline(both), now(both))] == ["clean"]
    flagged = run(clean=cell(RIGHT), audit=None, flags=["randomised"])
    assert [line.verdict for line in lines(baseline(both), now(flagged))] == [Verdict.PASS, Verdict.FAIL]


def test_a_retrained_seed_with_a_flag_that_no_baseline_seed_has_fails() -> None:
    before = [run(s, clean=cell(RIGHT), flags=["weaker_attack_stronger"] if s == 3 else []) for s in range(5)]
    after = [
        run(
            s,
            "v",
            clean=cell(RIGHT),
            flags=["weaker_attack_stronger", "transfer"] if s == 1 else ["weaker_attack_stronger"],
        )
        for s in range(5)
    ]
    audits = [line for line in lines(baseline(*before), now(*after)) if line.metric == "audit"]
    assert [line.verdict for line in audits] == [Verdict.PASS, Verdict.FAIL, *[Verdict.PASS] * 3]
    assert "new: ⚑transfer" in audits[1].why


def test_the_mean_over_corruptions_is_compared_by_shares() -> None:
    counts = np.random.default_rng(0).integers(20, 76, 300)
    before = baseline(run(corruptions_acc=cell(counts, parts=75)))
    same = only(before, now(run(corruptions_acc=cell(counts, parts=75))), "corruptions_acc")
    assert (same.why, same.before) == ("no image changed", pytest.approx(counts.mean() / 75))
    worse = only(before, now(run(corruptions_acc=cell(counts - 8, parts=75))), "corruptions_acc")
    assert worse.verdict is Verdict.FAIL
    fewer = only(before, now(run(corruptions_acc=cell(counts.clip(max=74), parts=74))), "corruptions_acc")
    assert fewer.verdict is Verdict.FAIL
    assert fewer.why == "different corruptions: 74 cells here, 75 in the baseline"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"alpha": 0.6}, "alpha 0.6 is not between 0 and 0.5"),
        ({"alpha": float("nan")}, "alpha nan is not between 0 and 0.5"),
        ({"scope": "weight"}, "scope 'weight' is not recipe or weights"),
        ({"allow_inconclusive": "no"}, "allow_inconclusive 'no' is not True or False"),
        ({"tolerances": {"clean": -1}}, "tolerance -1 of clean"),
        ({"tolerances": {"clean": float("nan")}}, "tolerance nan of clean"),
        ({"tolerances": {"clean": "3"}}, "tolerance '3' of clean"),
        ({"tolerances": {"claen": 1}}, "unknown tolerance 'claen'"),
        ({"floors": {"claen": 1}}, "unknown floor 'claen'"),
        ({"floors": {"clean": 0}}, "floor 0 of clean is not above 0"),
        ({"floors": {"clean": float("nan")}}, "floor nan of clean"),
        ({"floors": ["clean"]}, "floor=['clean'] is not of the form"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], why: str) -> None:
    with pytest.raises(BenchError) as caught:
        check(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(RIGHT))), Rules(**options))
    assert why in str(caught.value)


def test_a_baseline_without_a_cell_checks_nothing() -> None:
    with pytest.raises(BenchError, match="no cell"):
        lines(baseline(run()), now(run()))


def test_the_table_and_the_data_say_the_same() -> None:
    found = lines(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(WORSE))))
    text, data = gate_markdown(found, Rules()), gate_data(found)
    assert "| 75.0" in text
    assert "| 60.0" in text
    assert "✗ FAIL" in text
    assert (data[0]["baseline"], data[0]["now"], data[0]["drop"], data[0]["n_regressed"]) == (75.0, 60.0, 15.0, 60)
    assert data[1]["drop"] is None
    order = [line.split("|")[10].strip() for line in gate_markdown(found[::-1], Rules()).splitlines()[2:4]]
    assert order == ["✗ FAIL", "✓ PASS"]
    assert summary(found) == "2 checks: 1 PASS and 1 FAIL."
