"""Collapse against truth: an exact simplex, the textbook formulas written with d × d matrices, degenerate latents."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from bench.diagnostics import collapse
from bench.diagnostics.latents import Latents, Value
from bench.diagnostics.registry import diagnose_latents


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def simplex(classes: int, dimensions: int, radius: float) -> np.ndarray:
    """(K, d): K points at ``radius`` from their mean, which lies off the origin, in a random orientation."""
    rng = np.random.default_rng(0)
    corners = (np.eye(classes) - 1 / classes) * radius / math.sqrt(1 - 1 / classes)
    rotation = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    return corners @ rotation[:classes] + rng.standard_normal(dimensions)


def isotropic(means: np.ndarray, sigma: float) -> Latents:
    """Points on both sides of each mean along each axis, whose unbiased covariance is exactly σ² times the identity."""
    classes, d = means.shape
    step = sigma * math.sqrt((2 * d - 1) / 2)
    cross = step * np.concatenate([np.eye(d), -np.eye(d)])
    z = (means[:, None] + cross).reshape(-1, d)
    return Latents(z, np.repeat(np.arange(classes), 2 * d), classes)


def generic(seed: int = 0, *, n: int = 200, d: int = 12, classes: int = 5) -> Latents:
    """Unbalanced classes, correlated dimensions, means off the origin, weights and predictions of no special kind."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), np.arange(classes), rng.integers(0, classes, n - 2 * classes) // 2])
    means = 3 * rng.standard_normal((classes, d)) + 1
    z = means[labels] + rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    return Latents(z, labels, classes, rng.standard_normal((classes, d)), rng.integers(0, classes, n))


def reference(latents: Latents) -> dict[str, float]:
    """The formulas of the docstrings, written out with loops and d × d matrices."""
    z, y = latents.z, latents.labels
    means = np.array([z[y == c].mean(axis=0) for c in range(latents.num_classes)])
    centred = means - means.mean(axis=0)
    within = np.mean([np.cov(z[y == c], rowvar=False) for c in range(latents.num_classes)], axis=0)
    between = np.mean([np.outer(m, m) for m in centred], axis=0)
    k = latents.num_classes
    norms = [math.sqrt(m @ m) for m in centred]
    cosines = [centred[i] @ centred[j] / norms[i] / norms[j] for i in range(k) for j in range(i)]
    gaps = np.array([[math.dist(point, mean) for mean in means] for point in z])
    ratios = [gap[c] / min(np.delete(gap, c)) for gap, c in zip(gaps, y, strict=True)]
    share = np.linalg.eigvalsh(between)[::-1][: k - 1] / np.trace(between)
    assert latents.weights is not None
    w = latents.weights
    return {
        "nc1": float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10))) / k,
        "equiangularity": float(np.std(cosines)),
        "max_angle": float(np.mean([abs(c + 1 / (k - 1)) for c in cosines])),
        "equinorm": float(np.std(norms) / np.mean(norms)),
        "nc3": math.sqrt(np.sum((w / math.sqrt(np.sum(w**2)) - centred / math.sqrt(np.sum(centred**2))) ** 2)),
        "nc4": float(np.mean(gaps.argmin(axis=1) == latents.predictions)),
        "distance_ratio": float(np.median(ratios)),
        "effective_rank": math.exp(-sum(p * math.log(p) for p in share)),
        "dimensions_used": k - 1,
    }


@pytest.mark.parametrize(("classes", "dimensions"), [(3, 8), (5, 16), (10, 24)])
@pytest.mark.parametrize("sigma", [2.0, 1e-2, 1e-7])
def test_a_simplex_with_isotropic_classes_has_the_value_of_its_formula(
    classes: int, dimensions: int, sigma: float
) -> None:
    radius = 1.7
    latents = isotropic(simplex(classes, dimensions, radius), sigma)
    expected = sigma**2 * (classes - 1) ** 2 / (classes * radius**2)
    assert collapse.nc1(latents).value == pytest.approx(expected, rel=1e-6)  # 1e-16/1e-7 is the rounding of z itself
    assert collapse.equiangularity(latents).value == pytest.approx(0, abs=1e-12)
    assert collapse.max_angle(latents).value == pytest.approx(0, abs=1e-12)
    assert collapse.equinorm(latents).value == pytest.approx(0, abs=1e-12)
    assert collapse.dimensions_used(latents).value == classes - 1
    assert collapse.effective_rank(latents).value == pytest.approx(classes - 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(reference(generic())))
def test_every_value_is_that_of_its_formula_on_unbalanced_classes(name: str, seed: int) -> None:
    latents = generic(seed)
    assert diagnose_latents(latents)[name].value == pytest.approx(reference(latents)[name], rel=1e-9)


@pytest.mark.parametrize("d", [2, 4])
def test_fewer_dimensions_than_classes_leave_no_null_direction(d: int) -> None:
    latents = generic(d=d, classes=8)
    expected = reference(latents)
    assert collapse.nc1(latents).value == pytest.approx(expected["nc1"], rel=1e-9)
    assert collapse.dimensions_used(latents).value == d


def test_a_direction_of_the_means_that_is_float32_rounding_does_not_count() -> None:
    means = np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 1e-7]])
    latents = isotropic(means, 0.1)
    assert collapse.dimensions_used(latents).value == 2
    flat = isotropic(means[:, :2], 0.1)
    assert collapse.nc1(latents).value == pytest.approx(collapse.nc1(flat).value, rel=1e-6)


def test_a_tight_cluster_far_from_the_origin_keeps_its_digits() -> None:
    near = isotropic(np.array([[0.0, 0.0], [1024.0, 0.0], [0.0, 1024.0]]), 1.0)
    far = dataclasses.replace(near, z=near.z + 2.0**40)  # rounds what is added to 2^-12
    assert collapse.nc1(far).value == pytest.approx(collapse.nc1(near).value, rel=1e-3)
    assert collapse.distance_ratio(far).value == pytest.approx(collapse.distance_ratio(near).value, rel=1e-3)


def test_weights_proportional_to_the_centred_means_are_dual_and_a_common_row_spoils_it() -> None:
    latents = generic()
    centred = latents.classes.centred
    assert collapse.nc3(dataclasses.replace(latents, weights=40 * centred)).value == pytest.approx(0, abs=1e-12)
    assert collapse.nc3(dataclasses.replace(latents, weights=-centred)).value == pytest.approx(2)
    assert collapse.nc3(dataclasses.replace(latents, weights=40 * centred + 100.0)).value > 0.5


def test_agreement_is_with_the_prediction_not_with_the_label() -> None:
    z = np.array([[0.0], [0.0], [1.0], [1.0], [0.9]])
    labels = np.array([0, 0, 1, 1, 0])  # means 0.3 and 1: the last image, an error of the nearest mean, lies at 1
    predictions = np.array([0, 0, 1, 0, 1])
    assert collapse.nc4_agreement(Latents(z, labels, 2, predictions=predictions)).value == pytest.approx(4 / 5)


def test_spreads_about_the_origin() -> None:
    cube = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    exact = Latents(cube, np.arange(4), 4)
    assert [f(exact).value for f in (collapse.cov_norm, collapse.cov_abs)] == pytest.approx([0, 0], abs=1e-15)
    assert collapse.mean_norm(exact).value == pytest.approx(math.sqrt(2))
    z = np.array([[3.0, -4.0], [0.0, 15.0]])  # norms 5 and 15; sizes 3, 4, 0, 15
    two = Latents(z, np.array([0, 1]), 2)
    assert collapse.cov_norm(two).value == pytest.approx(5 / 10)
    assert collapse.cov_abs(two).value == pytest.approx(math.sqrt((2.5**2 + 1.5**2 + 5.5**2 + 9.5**2) / 4) / 5.5)
    assert collapse.mean_norm(two).value == pytest.approx(10)


def test_the_median_shrugs_off_an_image_on_the_mean_of_another_class() -> None:
    z = np.array([[0.0], [2.0], [1.0], [5.0]])  # means 1 and 3: the third image lies on the mean of the first class
    latents = Latents(z, np.array([0, 0, 1, 1]), 2)
    assert collapse.distance_ratio(latents).value == pytest.approx((2 / 4 + 1) / 2)  # of 1/3, 1, ∞, 1/2
    most = Latents(np.array([[-1.0], [1.0], [0.0], [0.0], [0.0], [4.0]]), np.array([0, 0, 1, 1, 1, 1]), 2)
    assert collapse.distance_ratio(most).reason == "most images lie on the mean of another class"


def test_two_classes_on_one_point_leave_no_ratio_however_few_they_are() -> None:
    labels = np.repeat(np.arange(8), 3)
    z = np.append(np.arange(7.0), 0.0)[labels][:, None]  # six of eight classes are apart
    assert collapse.distance_ratio(Latents(z, labels, 8)).reason == "two class means coincide"


def test_a_class_with_one_image_adds_its_mean_and_no_covariance() -> None:
    whole = generic()
    alone = whole.z[whole.labels == 4][:1]
    kept = whole.labels != 4
    latents = Latents(np.concatenate([whole.z[kept], alone]), np.append(whole.labels[kept], 4), 5)
    means = np.array([latents.z[latents.labels == c].mean(axis=0) for c in range(5)])
    centred = means - means.mean(axis=0)
    within = np.mean([np.cov(latents.z[latents.labels == c], rowvar=False) for c in range(4)], axis=0)
    between = centred.T @ centred / 5
    expected = float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10))) / 5
    assert collapse.nc1(latents).value == pytest.approx(expected, rel=1e-9)

    others = latents.labels != 4
    gaps = np.linalg.norm(latents.z[others][:, None] - means, axis=2)
    rows = np.arange(len(gaps))
    own = gaps[rows, latents.labels[others]].copy()
    gaps[rows, latents.labels[others]] = np.inf
    assert collapse.distance_ratio(latents).value == pytest.approx(np.median(own / gaps.min(axis=1)), rel=1e-12)


def test_classes_without_an_image_do_not_count() -> None:
    latents = generic()
    names = np.array([1, 2, 5, 6, 8])
    weights = np.full((10, latents.z.shape[1]), 1e3)
    assert latents.weights is not None
    assert latents.predictions is not None
    weights[names] = latents.weights
    spread = Latents(latents.z, names[latents.labels], 10, weights, names[latents.predictions])
    assert diagnose_latents(spread) == diagnose_latents(latents)


ROW = np.array([0.1, 0.3, 0.7])
LINE = np.array([[-1.0, 2, 0], [1, 2, 0], [0, 2, 0]])
CORNERS = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1]]) * 0.1
FEW = np.arange(21) % 3
MANY = np.arange(66) % 3  # more to a class than the neighbours that the entropy looks at
ALWAYS = {"mean_norm"}
ONE_CLASS = ALWAYS | {"cov_norm", "cov_abs", "entropy", "binarity_mean", "binarity_min", "vertex_cosine"}
EVERYTHING = set(diagnose_latents(generic()))
NORMAL = np.random.default_rng(0).standard_normal((21, 3))
DEGENERATE: dict[str, tuple[np.ndarray, np.ndarray, set[str]]] = {
    # latents, labels, and what is defined nevertheless
    "one image": (ROW[None], np.array([2]), ALWAYS | {"cov_abs", "vertex_cosine"}),
    "one image, one dimension": (ROW[None, :1], np.array([2]), ALWAYS | {"vertex_cosine"}),
    "one class": (NORMAL, np.full(21, 1), ONE_CLASS),
    "all zero": (np.zeros((21, 3)), FEW, ALWAYS | {"dimensions_used"}),
    "all alike": (np.tile(ROW, (21, 1)), FEW, ALWAYS | {"dimensions_used", "cov_norm", "cov_abs", "vertex_cosine"}),
    "exactly collapsed": (CORNERS[MANY], MANY, EVERYTHING - {"entropy"}),
    "two classes on one point": (CORNERS[MANY % 2], MANY, EVERYTHING - {"entropy", "distance_ratio"}),
    "a class at the global mean": (LINE[MANY], MANY, EVERYTHING - {"entropy", "equiangularity", "max_angle"}),
    "one image a class": (NORMAL[:3], np.arange(3), EVERYTHING - {"nc1", "distance_ratio"}),
    "two images": (NORMAL[:2], np.arange(2), EVERYTHING - {"nc1", "distance_ratio", "binarity_mean", "binarity_min"}),
    "two classes": (NORMAL, FEW % 2, EVERYTHING),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_latents_give_a_number_or_a_reason(case: str) -> None:
    """All predictions are correct and classes are balanced, or almost: both forms are defined where one is."""
    z, labels, defined = DEGENERATE[case]
    weights = np.random.default_rng(1).standard_normal((4, z.shape[1]))
    values = diagnose_latents(Latents(z, labels, 4, weights, labels))
    by_prediction = {name for name in EVERYTHING if name.endswith("_by_prediction")}
    defined = (defined - by_prediction) | {n for n in by_prediction if n.removesuffix("_by_prediction") in defined}
    assert {name for name, value in values.items() if math.isfinite(value.value)} == defined
    assert {name for name, value in values.items() if value.reason} == EVERYTHING - defined


def test_exact_collapse_is_zero_and_not_rounding() -> None:
    latents = Latents(CORNERS[FEW], FEW, 3)
    assert (collapse.nc1(latents), collapse.distance_ratio(latents)) == (Value(0.0), Value(0.0))


def test_means_that_differ_by_rounding_coincide() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 3))
    latents = Latents(
        np.concatenate([points, rng.permutation(points)]),
        np.repeat([0, 1], 50),
        2,
        rng.standard_normal((2, 3)),
        np.repeat([0, 1], 50),
    )
    assert latents.classes.centred.any()
    values = diagnose_latents(latents)
    for name in ("nc1", "equinorm", "nc3", "nc4", "effective_rank"):
        assert values[name].reason == "the class means coincide"
    for name in ("equiangularity", "max_angle"):
        assert values[name].reason == "a class mean lies at the global mean"
    assert values["dimensions_used"].value == 0
    assert values["distance_ratio"].value == pytest.approx(1)


def test_without_weights_or_predictions_nc3_and_nc4_say_so() -> None:
    latents = dataclasses.replace(generic(), weights=None, predictions=None)
    assert collapse.nc3(latents).reason == "the logits are not linear in the latents"
    assert collapse.nc4_agreement(latents).reason == "no predictions were given"
    zero = dataclasses.replace(latents, weights=np.zeros((5, 12)))
    assert collapse.nc3(zero).reason == "the output weights are zero"


@pytest.mark.parametrize(
    "changes",
    [
        {"z": np.zeros((3, 2), np.float32)},
        {"z": np.zeros(3)},
        {"z": np.zeros((0, 2)), "labels": np.zeros(0, int)},
        {"z": np.full((3, 2), np.nan)},
        {"labels": np.array([0, 1])},
        {"labels": np.array([0.0, 1.0, 1.0])},
        {"labels": np.array([0, 1, 2])},
        {"labels": np.array([0, 1, -1])},
        {"predictions": np.array([0, 1, 2])},
        {"predictions": np.array([[0, 1, 1]])},
        {"weights": np.zeros((3, 2))},
        {"weights": np.zeros((2, 2), np.float32)},
        {"weights": np.full((2, 2), np.inf)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, np.ndarray]) -> None:
    fitting = Latents(np.zeros((3, 2)), np.array([0, 1, 1]), 2, np.zeros((2, 2)), np.array([1, 1, 0]))
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(fitting, **changes)


@pytest.mark.parametrize(("value", "reason"), [(math.nan, ""), (1.0, "why"), (math.inf, ""), (-math.inf, "why")])
def test_a_value_is_finite_or_has_a_reason(value: float, reason: str) -> None:
    with pytest.raises(ValueError, match="finite, or nan with a reason"):
        Value(value, reason)
