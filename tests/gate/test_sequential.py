"""``bench check --sequential``: order, level and tolerance of the baseline, images used, and reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from junitparser import JUnitXml
from records import store_with
from sides import baseline, cell, now, run

from bench.core.errors import BenchError
from bench.gate.baseline import Baseline, dump_baseline, make_baseline, parse_baseline, seal
from bench.gate.checks import Check
from bench.gate.rules import WEIGHTS, Rules
from bench.gate.run_checks import check
from bench.gate.sequential import ImageSequence, decisions, judge_in_sequence, sealed_order
from bench.gate.verdict import Verdict

RIGHT = [True] * 900 + [False] * 100
WORSE = [index % 9 != 0 and right for index, right in enumerate(RIGHT)]  # every ninth image is lost
RULES = Rules(sequential=True)


def only(before: Baseline, after: Any, rules: Rules = RULES) -> Check:
    (found,) = (line for line in check(before, after, rules) if line.metric == "clean")
    return found


def test_a_clear_drop_fails_before_all_images_are_used() -> None:
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(WORSE))))
    assert found.verdict is Verdict.FAIL
    assert found.used is not None
    assert found.used.n_used < 250
    assert found.size == found.used.text == f"{found.used.n_used} of 1000 images"


def test_the_figures_are_over_the_first_images_of_the_sealed_order() -> None:
    before = baseline(run(clean=cell(RIGHT)))
    found = only(before, now(run(clean=cell(WORSE))))
    assert found.used is not None
    assert before.sequential is not None
    seen = sealed_order(before.sequential.order, "i", 1000)[: found.used.n_used]
    old, new = np.array(RIGHT)[seen], np.array(WORSE)[seen]
    assert (found.before, found.after) == pytest.approx((old.mean(), new.mean()))
    assert (found.n_regressed, found.n_improved) == ((old & ~new).sum(), (new & ~old).sum())
    assert found.judgement is not None
    assert found.judgement.drop == pytest.approx(old.mean() - new.mean())
    assert found.used.bounds_of_all.low > 0.005  # the default tolerance of clean
    assert found.judgement.low > 0


def test_what_happens_after_the_verdict_is_no_matter() -> None:
    """Images that the check has not used may have any outcome."""
    before = baseline(run(clean=cell(RIGHT)))
    found = only(before, now(run(clean=cell(WORSE))))
    assert found.used is not None
    assert before.sequential is not None
    unused = sealed_order(before.sequential.order, "i", 1000)[found.used.n_used :]
    other = np.array(WORSE)
    other[unused] = True
    assert only(before, now(run(clean=cell(other.tolist())))) == found


def test_the_order_is_a_permutation_of_the_seed_and_the_images() -> None:
    orders = [sealed_order(seed, images, 500) for seed, images in (("a", "i"), ("a", "i"), ("b", "i"), ("a", "j"))]
    assert all(sorted(order) == list(range(500)) for order in orders)
    assert (orders[0] == orders[1]).all()
    for other in orders[2:]:
        assert abs(np.corrcoef(orders[0], other)[0, 1]) < 0.2  # 4.5 standard errors
    assert abs(np.corrcoef(orders[0], np.arange(500))[0, 1]) < 0.2


def test_no_changed_image_passes_without_all_of_them_if_they_are_many() -> None:
    found = only(baseline(run(clean=cell(RIGHT)), clean=1.0), now(run(clean=cell(RIGHT))))
    assert (found.verdict, found.why) == (Verdict.PASS, "a drop beyond the tolerance is excluded")
    assert found.used is not None
    assert found.used.n_used < 700
    few = only(baseline(run(clean=cell(RIGHT[850:]))), now(run(clean=cell(RIGHT[850:]))))
    assert (few.verdict, few.why, few.size) == (Verdict.PASS, "no image changed", "150 of 150 images")


def test_undecided_after_all_images() -> None:
    other = [False] * 4 + RIGHT[4:]
    found = only(baseline(run(clean=cell(RIGHT))), now(run(clean=cell(other))))
    assert (found.verdict, found.size) == (Verdict.UNDECIDED, "1000 of 1000 images")
    assert found.why == "all 1000 images are used and neither verdict is decided"
    assert found.used is not None
    assert found.used.bounds_of_all == pytest.approx((0.004, 0.004))


def test_the_mean_over_corruptions_is_decided_in_its_parts() -> None:
    """Each image of two cells; of each third image, one is lost."""
    old = [2] * 600
    new = [2 - (index % 3 == 0) for index in range(600)]
    sequence = ImageSequence.of(cell(old, parts=2), cell(new, parts=2), "seed")
    judgement, used = judge_in_sequence(sequence, alpha=0.01, tolerance=0.01)
    assert judgement.verdict is Verdict.FAIL
    assert used.n_used < 600
    assert judgement.low < 1 / 6 < judgement.high
    fails, _ = decisions(sequence.differences, 2, alpha=0.01, tolerance=1 / 6)
    assert not fails.any()


def test_retrained_weights_are_compared_over_all_images() -> None:
    before = baseline(*(run(seed, clean=cell(RIGHT)) for seed in range(5)))
    after = now(*(run(seed, weights="v", clean=cell(WORSE)) for seed in range(5)))
    found = only(before, after)
    assert (found.size, found.used, found.verdict) == ("5 and 5 seeds", None, Verdict.FAIL)
    lines = check(before, after, Rules(scope=WEIGHTS, sequential=True))
    assert all(line.used is not None for line in lines if line.metric == "clean")


def test_level_and_tolerance_are_those_of_the_baseline() -> None:
    made = make_baseline((run(clean=cell(RIGHT)),), {"clean": 12.0}, 0.2)
    found = only(made, now(run(clean=cell(WORSE))))
    assert (found.verdict, found.tolerance) == (Verdict.PASS, 12.0)
    with pytest.raises(BenchError, match="sealed in the baseline"):
        check(made, now(run(clean=cell(WORSE))), Rules(tolerances={"clean": 1.0}, sequential=True))
    assert only(made, now(run(clean=cell(WORSE))), Rules(alpha=0.001, sequential=True)) == found


def test_a_file_without_a_plan_is_refused_with_the_way_out() -> None:
    data = json.loads(dump_baseline(baseline(run(clean=cell(RIGHT)))))
    del data["sequential"]
    data = {**data, "format": 1}
    old = parse_baseline(json.dumps({**data, "sha": seal(data)}).encode(), where="file")
    assert only(old, now(run(clean=cell(RIGHT))), Rules()).verdict is Verdict.PASS
    with pytest.raises(BenchError, match="'bench baseline write' writes it again"):
        check(old, now(run(clean=cell(RIGHT))), RULES)


@pytest.fixture
def file(tmp_path: Path, bench: Callable[..., Any]) -> Path:
    path = tmp_path / "digits.json"
    store_with(tmp_path / "before", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": WORSE}})
    arguments = ["--baseline", path, "--results", tmp_path / "before", "--tolerance", "clean=1", "--alpha", "0.02"]
    assert bench("baseline", "write", *arguments).code == 0
    return path


def test_the_images_used_are_in_every_report(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    junit, page = tmp_path / "gate.xml", tmp_path / "page.md"
    shown = bench(
        "check", "--baseline", file, "--results", tmp_path / "after", "--sequential", "--json",
        "--junit", junit, "--summary", page,
    )  # fmt: skip
    assert shown.code == 1
    assert (shown.json["alpha"], shown.json["sequential"]) == (0.02, True)
    used = {line["metric"]: (line["n_used"], line["n"]) for line in shown.json["checks"]}
    total = sum(n_used for n_used, _ in used.values())
    assert shown.json["summary"] == f"2 checks: 1 PASS and 1 FAIL. Images used: {total} of 2000."
    cases = {case.name: case.system_out for suite in JUnitXml.fromfile(str(junit)) for case in suite}
    for metric, (n_used, n) in used.items():
        assert n_used < n == 1000
        assert f"{n_used} of {n} images used" in cases[metric]
        assert f"{n_used} of {n} images" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [("--alpha", "0.01"), ("--tolerance", "clean=3")])
def test_nothing_is_chosen_after_looking(
    tmp_path: Path, bench: Callable[..., Any], file: Path, option: tuple[str, str]
) -> None:
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after", "--sequential", *option)
    assert shown.code == 2
    assert "sealed in the baseline" in shown.err


def test_an_update_keeps_the_level(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    arguments = ["baseline", "write", "--baseline", file, "--results", tmp_path / "before"]
    assert bench(*arguments).code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["sequential"]["alpha"] == 0.02
    assert bench(*arguments, "--alpha", "0.03").code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["sequential"]["alpha"] == 0.03
