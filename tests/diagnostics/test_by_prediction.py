"""Collapse by predicted class against the equations of the authors' code, written with d × d matrices."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from bench.diagnostics import by_prediction, collapse
from bench.diagnostics.latents import Latents
from bench.diagnostics.registry import diagnose_latents

NAMES = ("nc1", "equiangularity", "max_angle", "equinorm")


def some(errors: float, seed: int = 0, *, n: int = 400, d: int = 12, classes: int = 5) -> Latents:
    """Latents around the mean of their *predicted* class, which is another one for a share ``errors`` of the images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    predictions = np.where(rng.random(n) < errors, rng.integers(0, classes, n), labels)
    means = 3 * rng.standard_normal((classes, d)) + 1
    z = means[predictions] + 0.3 * rng.standard_normal((n, d))
    return Latents(z, labels, classes, predictions=predictions)


def authors(z: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Their equations: images grouped by prediction, centred by the mean of all images."""
    present = np.unique(predicted)
    centred = np.array([z[predicted == c].mean(axis=0) for c in present]) - z.mean(axis=0)
    within = np.mean([np.cov(z[predicted == c].T) for c in present], axis=0)
    between = np.mean([np.outer(m, m) for m in centred], axis=0)
    norms = np.linalg.norm(centred, axis=1)
    k = len(present)
    cosines = np.array([centred[i] @ centred[j] / norms[i] / norms[j] for i in range(k) for j in range(i)])
    return {
        "nc1": float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10))) / k,
        "equiangularity": float(cosines.std()),
        "max_angle": float(np.abs(cosines + 1 / (k - 1)).mean()),
        "equinorm": float(norms.std() / norms.mean()),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("errors", [0.0, 0.14, 0.5])
def test_the_value_is_that_of_the_authors_equations(name: str, errors: float) -> None:
    latents = some(errors)
    assert latents.predictions is not None
    expected = authors(latents.z, latents.predictions)[name]
    assert diagnose_latents(latents)[f"{name}_by_prediction"].value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_agree_where_every_prediction_is_correct_and_classes_are_balanced(name: str) -> None:
    values = diagnose_latents(some(0.0))
    assert values[f"{name}_by_prediction"].value == pytest.approx(values[name].value, rel=1e-9)


def test_errors_raise_nc1_by_label_and_not_by_prediction() -> None:
    latents = some(0.14)
    assert collapse.nc1(latents).value > 10 * by_prediction.nc1_by_prediction(latents).value


def test_a_class_that_is_never_predicted_or_once_is_left_out() -> None:
    z = np.array([[0.0, 0], [2, 0], [10, 0], [12, 1], [0, 9]])
    latents = Latents(z, np.array([0, 0, 1, 1, 2]), 4, predictions=np.array([0, 0, 1, 1, 3]))
    once = by_prediction.nc1_by_prediction(latents).value
    assert math.isfinite(once)
    centred = np.array([[1, 0], [11, 0.5], [0, 9]]) - z.mean(axis=0)
    within = (np.cov(z[:2].T) + np.cov(z[2:4].T)) / 2
    assert once == pytest.approx(np.trace(within @ np.linalg.inv(centred.T @ centred / 3)) / 3)


@pytest.mark.parametrize("name", NAMES)
def test_undefined_values_have_reasons(name: str) -> None:
    function = getattr(by_prediction, f"{name}_by_prediction")
    latents = some(0.1)
    assert function(dataclasses.replace(latents, predictions=None)).reason == "no predictions were given"
    one = dataclasses.replace(latents, predictions=np.zeros(len(latents.z), dtype=np.int64))
    assert function(one).reason == "fewer than two classes are present"
