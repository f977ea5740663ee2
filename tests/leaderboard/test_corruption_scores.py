"""The means and ratios of accuracies under corruptions: by hand, and against RobustBench's published scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.leaderboard.corruption_scores import (
    CLEAN_ERROR,
    MEAN_ERRORS,
    Accuracies,
    by_family,
    by_kind,
    by_severity,
    mean_accuracy,
    mean_corruption_error,
    mean_errors,
    relative_mean_corruption_error,
)
from bench.leaderboard.corruptions_csv import read_corruptions

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "robustbench" / "model_info"
FILE = "corruptions/unaggregated_results.csv"
needs_robustbench = pytest.mark.skipif(not PUBLISHED.exists(), reason="needs RobustBench's tables in ../shared")

ACC: Accuracies = {("fog", 5): 0.2, ("fog", 1): 0.8, ("snow", 1): 0.6, ("snow", 5): 0.4, ("blur", 1): 0.9}
FAMILIES = {"fog": "weather", "snow": "weather", "blur": "blur", "pixelate": "digital"}

GRID = st.dictionaries(
    st.tuples(st.sampled_from(["fog", "snow", "blur"]), st.integers(1, 5)), st.integers(0, 99), min_size=1
).map(lambda counts: {cell: count / 100 for cell, count in counts.items()})


def test_the_mean_is_over_cells_and_not_over_kinds() -> None:
    assert mean_accuracy(ACC) == pytest.approx(2.9 / 5)


def test_means_by_kind_severity_and_family() -> None:
    assert by_kind(ACC) == pytest.approx({"fog": 0.5, "snow": 0.5, "blur": 0.9})
    assert by_severity(ACC) == pytest.approx({1: 2.3 / 3, 5: 0.3})
    assert list(by_severity(ACC)) == [1, 5]
    assert by_family(ACC, FAMILIES) == pytest.approx({"weather": 0.5, "blur": 0.9})
    assert mean_errors(ACC) == pytest.approx({"fog": 0.5, "snow": 0.5, "blur": 0.1})


def test_a_family_weighs_its_cells_alike() -> None:
    acc = {("fog", 1): 0.3, ("snow", 1): 0.6, ("snow", 2): 0.9}
    assert by_family(acc, FAMILIES) == pytest.approx({"weather": 0.6})


def test_a_kind_without_a_family_is_refused() -> None:
    with pytest.raises(ValueError, match="no family for snow"):
        by_family(ACC, {"fog": "weather", "blur": "blur"})


def test_mce_is_the_mean_over_kinds_of_ratios_of_means() -> None:
    """By hand: errors 0.5, 0.5 and 0.1 against 0.8, 0.4 and 0.2; the ratio of the sums would be 78.6."""
    score = mean_corruption_error(ACC, {"fog": 0.8, "snow": 0.4, "blur": 0.2})
    assert score.value == pytest.approx(100 * (0.625 + 1.25 + 0.5) / 3)
    assert score.reason == ""


def test_mce_does_not_take_ratios_at_each_severity() -> None:
    baseline = {("fog", 1): 0.9, ("fog", 2): 0.3}  # errors 0.1 and 0.7
    acc = {("fog", 1): 0.8, ("fog", 2): 0.4}  # errors 0.2 and 0.6: ratios 2 and 6/7, of the means 1
    assert mean_corruption_error(acc, mean_errors(baseline)).value == pytest.approx(100)


def test_relative_mce_takes_each_models_clean_error_away() -> None:
    """By hand: fog (0.5 − 0.05) / (0.8 − 0.2), snow (0.5 − 0.05) / (0.4 − 0.2), blur (0.1 − 0.05) / (0.3 − 0.2)."""
    score = relative_mean_corruption_error(ACC, 0.95, {"fog": 0.8, "snow": 0.4, "blur": 0.3}, 0.2)
    assert score.value == pytest.approx(100 * (0.75 + 2.25 + 0.5) / 3)


def test_a_model_better_under_corruption_than_without_has_a_negative_relative_mce() -> None:
    assert relative_mean_corruption_error({("fog", 1): 0.9}, 0.8, {"fog": 0.5}, 0.3).value == pytest.approx(-50)


@given(acc=GRID)
def test_a_baseline_against_itself_is_100_exactly(acc: Accuracies) -> None:
    assert mean_corruption_error(acc, mean_errors(acc)).value == 100
    assert relative_mean_corruption_error(acc, 1.0, mean_errors(acc), 0.0).value == 100


def test_a_baseline_with_a_clean_error_against_itself_is_100_exactly() -> None:
    acc = {("fog", 1): 0.71, ("fog", 2): 0.33, ("snow", 1): 0.57}
    assert relative_mean_corruption_error(acc, 0.83, mean_errors(acc), 1 - 0.83).value == 100


def test_kinds_of_the_reference_that_were_not_measured_do_not_count() -> None:
    assert mean_corruption_error({("fog", 1): 0.5}, {"fog": 0.5, "snow": 0.1}).value == 100
    assert relative_mean_corruption_error({("fog", 1): 0.5}, 0.9, {"fog": 0.5, "snow": 0.0}, 0.1).value == 100


@pytest.mark.parametrize("error", [0.0, -0.1])
def test_a_reference_without_error_leaves_the_mce_undefined(error: float) -> None:
    score = mean_corruption_error(ACC, {"fog": 0.8, "snow": error, "blur": 0.2})
    assert score == (None, "The reference makes no error under snow, so that the ratio is undefined.")


@pytest.mark.parametrize("error", [0.3, 0.2])
def test_a_reference_that_loses_nothing_leaves_the_relative_mce_undefined(error: float) -> None:
    score = relative_mean_corruption_error(ACC, 0.9, {"fog": 0.8, "snow": 0.4, "blur": error}, 0.3)
    assert score == (None, "The reference loses no accuracy under blur, so that the ratio is undefined.")


def test_a_loss_that_is_only_rounding_is_none() -> None:
    reference = {"fog": 1 - 0.7}  # 0.30000000000000004
    assert relative_mean_corruption_error({("fog", 1): 0.5}, 0.9, reference, 0.3).value is None


def test_a_kind_that_the_reference_lacks_leaves_both_undefined() -> None:
    without = {"fog": 0.8, "blur": 0.2}
    expected = (None, "The reference has no error for snow.")
    assert mean_corruption_error(ACC, without) == expected
    assert relative_mean_corruption_error(ACC, 0.9, without, 0.1) == expected


def test_no_cells_are_an_error() -> None:
    for score in (mean_accuracy, by_kind, by_severity, mean_errors):
        with pytest.raises(ValueError, match="no accuracies"):
            score({})
    with pytest.raises(ValueError, match="no accuracies"):
        by_family({}, FAMILIES)
    with pytest.raises(ValueError, match="no accuracies"):
        mean_corruption_error({}, {"fog": 0.5})
    with pytest.raises(ValueError, match="no accuracies"):
        relative_mean_corruption_error({}, 0.9, {"fog": 0.5}, 0.1)


def test_alexnet_against_itself_is_100() -> None:
    acc = {(kind, 1): 1 - error for kind, error in MEAN_ERRORS.items()}
    assert mean_corruption_error(acc, MEAN_ERRORS).value == pytest.approx(100)
    assert relative_mean_corruption_error(acc, 1 - CLEAN_ERROR, MEAN_ERRORS, CLEAN_ERROR).value == pytest.approx(100)


def published(dataset: str, field: str) -> dict[str, float]:
    """A field of RobustBench's model cards, percent. Underscores in the names go: the table lacks some of them."""
    cards = {path.stem: json.loads(path.read_text()) for path in (PUBLISHED / dataset / "corruptions").glob("*.json")}
    return {name.replace("_", ""): float(card[field]) for name, card in cards.items() if card.get(field)}


def measured(dataset: str) -> dict[str, Accuracies]:
    return {name.replace("_", ""): acc for name, acc in read_corruptions(PUBLISHED / dataset / FILE).items()}


@needs_robustbench
@pytest.mark.parametrize(("dataset", "models"), [("cifar10", 23), ("cifar100", 13), ("imagenet", 12)])
def test_mean_accuracies_are_those_that_robustbench_published(dataset: str, models: int) -> None:
    ours = {name: 100 * mean_accuracy(acc) for name, acc in measured(dataset).items()}
    assert len(ours) == models
    assert ours == pytest.approx(published(dataset, "corruptions_acc"), rel=0, abs=0.01)


@needs_robustbench
def test_mean_corruption_errors_are_those_that_robustbench_published() -> None:
    """To 0.1 with AlexNet as Hendrycks and Dietterich published it, to the last digit with RobustBench's own run."""
    rows, theirs = measured("imagenet"), published("imagenet", "corruptions_mce")
    assert len(theirs) == 12
    assert theirs["StandardR50"] == 76.38
    ours = {name: mean_corruption_error(acc, MEAN_ERRORS).value for name, acc in rows.items()}
    assert ours == pytest.approx(theirs, rel=0, abs=0.1)
    own_run = mean_errors(rows["AlexNet"])
    assert own_run == pytest.approx(MEAN_ERRORS, rel=0, abs=0.01)
    ours = {name: mean_corruption_error(acc, own_run).value for name, acc in rows.items()}
    assert ours == pytest.approx(theirs, rel=0, abs=0.0051)
