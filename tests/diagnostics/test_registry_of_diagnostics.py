"""Contract of every registered diagnostic, above all that its value does not change where the model does not."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from bench.diagnostics.latents import Latents
from bench.diagnostics.registry import DIAGNOSTICS, diagnose_latents

NAMES = {
    "nc1", "equiangularity", "max_angle", "equinorm", "nc3", "nc4", "cov_norm", "cov_abs", "mean_norm",
    "nc1_by_prediction", "equiangularity_by_prediction", "max_angle_by_prediction", "equinorm_by_prediction",
    "distance_ratio", "dimensions_used", "effective_rank", "entropy", "binarity_mean", "binarity_min", "vertex_cosine",
}  # fmt: skip


def model() -> Latents:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 150)
    weights = rng.standard_normal((4, 6))
    z = weights[labels] + 0.7 * rng.standard_normal((150, 6)) + 0.5
    return Latents(z, labels, 4, weights, (z @ weights.T).argmax(axis=1))


@pytest.mark.parametrize("name", ["z", "labels", "weights", "predictions"])
def test_no_diagnostic_can_change_what_others_read(name: str) -> None:
    """The labels are those of the data set: a change would reach the next training."""
    plain = model()
    given = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    writable = np.array(given[name])
    latents = Latents(**{**given, name: writable})
    with pytest.raises(ValueError, match="read-only"):
        getattr(latents, name)[:20] = 0
    assert np.array_equal(getattr(latents, name), given[name])
    writable[:1] = writable[:1]  # the array of the caller stays writable


def test_the_names_are_those_promised() -> None:
    assert set(DIAGNOSTICS) == NAMES
    assert list(diagnose_latents(model())) == sorted(NAMES)
    functions = {DIAGNOSTICS.get(name).function.__name__ for name in DIAGNOSTICS}
    assert functions == NAMES - {"nc4"} | {"nc4_agreement"}


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 0.3, 1e5])
@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_what_claims_to_be_invariant_is_and_what_does_not_is_not(name: str, factor: float) -> None:
    latents = model()
    assert latents.weights is not None
    scaled = dataclasses.replace(latents, z=factor * latents.z, weights=latents.weights / factor)
    before, after = (DIAGNOSTICS.get(name).function(each).value for each in (latents, scaled))
    assert math.isfinite(before)
    if DIAGNOSTICS.get(name).invariant:
        assert after == pytest.approx(before, rel=1e-9)
    else:
        assert after != pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_the_direction_is_that_of_collapse(name: str) -> None:
    """Half way to the corners of a hypercube, with weights along them, the value has moved in its better direction."""
    loose = model()
    corners = np.array([[1.0, 1, 1, 1, 1, 1], [1, -1, 1, -1, -1, -1], [-1, 1, -1, 1, -1, -1], [-1, -1, -1, -1, 1, 1]])
    near = dataclasses.replace(
        loose, z=0.1 * loose.z + corners[loose.labels], weights=corners, predictions=loose.labels
    )
    before, after = (DIAGNOSTICS.get(name).function(each).value for each in (loose, near))
    better = DIAGNOSTICS.get(name).better
    if better:
        assert (after > before) == (better == "higher")
        assert after != pytest.approx(before, rel=0.02)
    else:
        assert name in {"mean_norm", "dimensions_used", "effective_rank"}


@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_the_texts_fit_a_line_and_a_table(name: str) -> None:
    entry = DIAGNOSTICS.get(name)
    for text in (entry.summary, entry.definition):
        assert text
        assert not set(text) & set("|\n")
        assert len(text) <= 110
    assert entry.function.__doc__


def test_the_diagnostics_need_no_torch() -> None:
    code = "import sys, bench.diagnostics.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
