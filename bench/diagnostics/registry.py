"""Registry of diagnostics. A diagnostic is a function of the latents."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.core.columns import DIAGNOSTIC_COLUMNS, TRAIN_SUFFIX
from bench.core.errors import BenchError, CellFailure
from bench.core.registry import Registry
from bench.diagnostics import binarity, by_prediction, collapse, entropy
from bench.diagnostics.latents import Latents, Value
from bench.runtime.plugin import plugin_sha_of


@dataclass(frozen=True, kw_only=True)
class DiagnosticEntry:
    """Declaration of a diagnostic.

    ``better`` is the direction towards collapse or a hypercube, not towards accuracy or robustness. It is "" if neither
    direction means collapse.
    """

    summary: str
    definition: str  # one line of Markdown for a table
    invariant: bool  # true if invariant under z → c z, W → W/c, which does not change the function of the model
    better: Literal["lower", "higher", ""]
    function: Callable[[Latents], Value]


DIAGNOSTICS: Registry[DiagnosticEntry] = Registry("diagnostic")

BUILTIN = "bench.diagnostics"  # origin of the built-in diagnostics


def columns_of(name: str) -> tuple[str, str]:
    """Return the columns of a diagnostic, on test and on training images."""
    return f"collapse_{name}", f"collapse_{name}{TRAIN_SUFFIX}"


def plugin_codes() -> dict[str, str]:
    """Return the content hash of the plug-in by column, for all diagnostics that are not built in.

    The hash is empty for a diagnostic that was registered without a plug-in file. Raises BenchError if a column of a
    diagnostic is already the column of another quantity.
    """
    hashes: dict[str, str] = {}
    for name in (name for name in DIAGNOSTICS if DIAGNOSTICS.origin(name) != BUILTIN):
        for column in columns_of(name):
            if column in DIAGNOSTIC_COLUMNS or column in hashes:
                raise BenchError(
                    f"diagnostic {name!r} (from {DIAGNOSTICS.origin(name)}) has the column {column!r}, which belongs "
                    "to another quantity; rename the diagnostic."
                )
            hashes[column] = plugin_sha_of("diagnostic", name)
    return hashes


def diagnose_latents(latents: Latents, names: Collection[str] | None = None) -> dict[str, Value]:
    """Compute the diagnostics ``names`` of ``latents``, by default every registered one, sorted by name.

    Raises CellFailure("diagnosis_error") for a diagnostic that returns no number.
    """
    chosen = DIAGNOSTICS if names is None else sorted(names)
    return {name: _checked(name, DIAGNOSTICS.get(name).function(latents)) for name in chosen}


def _checked(name: str, value: object) -> Value:
    """Return the value of a diagnostic as a Python float."""
    if not isinstance(value, Value):
        returned = type(value).__name__
        raise CellFailure("diagnosis_error", f"diagnostic {name} returned {returned}; return a Value, or undefined(…).")
    number = value.value
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or np.iscomplexobj(number):
        returned = type(number).__name__
        raise CellFailure("diagnosis_error", f"diagnostic {name} returned a Value of {returned}; give it a number.")
    return Value(float(number), str(value.reason))


_BUILTIN = {
    "nc1": DiagnosticEntry(
        summary="variability within the classes relative to variability between the classes",
        definition="tr(Σ_W Σ_B⁺)/K, directions of Σ_B below 1e-6 of the largest left out",
        invariant=True,
        better="lower",
        function=collapse.nc1,
    ),
    "equiangularity": DiagnosticEntry(
        summary="variation of the angles between the centred class means",
        definition="std over pairs of cos(μ_i-μ_G, μ_j-μ_G)",
        invariant=True,
        better="lower",
        function=collapse.equiangularity,
    ),
    "max_angle": DiagnosticEntry(
        summary="deviation of the angles between the centred class means from a simplex",
        definition="mean over pairs of abs(cos(μ_i-μ_G, μ_j-μ_G) + 1/(K-1))",
        invariant=True,
        better="lower",
        function=collapse.max_angle,
    ),
    "equinorm": DiagnosticEntry(
        summary="variation of the lengths of the centred class means",
        definition="std/mean over classes of ‖μ_c-μ_G‖",
        invariant=True,
        better="lower",
        function=collapse.equinorm,
    ),
    "nc1_by_prediction": DiagnosticEntry(
        summary="nc1 of the predicted classes, as in the authors' code",
        definition="tr(Σ_W Σ_B⁺)/K, images grouped by predicted class, μ_G the mean of all images",
        invariant=True,
        better="lower",
        function=by_prediction.nc1_by_prediction,
    ),
    "equiangularity_by_prediction": DiagnosticEntry(
        summary="equiangularity of the predicted classes, as in the authors' code",
        definition="std over pairs of cos(μ_i-μ_G, μ_j-μ_G), images grouped by predicted class",
        invariant=True,
        better="lower",
        function=by_prediction.equiangularity_by_prediction,
    ),
    "max_angle_by_prediction": DiagnosticEntry(
        summary="max_angle of the predicted classes, as in the authors' code",
        definition="mean over pairs of abs(cos(μ_i-μ_G, μ_j-μ_G) + 1/(K-1)), images grouped by predicted class",
        invariant=True,
        better="lower",
        function=by_prediction.max_angle_by_prediction,
    ),
    "equinorm_by_prediction": DiagnosticEntry(
        summary="equinorm of the predicted classes, as in the authors' code",
        definition="std/mean over classes of ‖μ_c-μ_G‖, images grouped by predicted class",
        invariant=True,
        better="lower",
        function=by_prediction.equinorm_by_prediction,
    ),
    "nc3": DiagnosticEntry(
        summary="distance between the output weights and the centred class means, both normalised",
        definition="‖W/‖W‖_F - M/‖M‖_F‖_F, W not centred, M with rows μ_c-μ_G",
        invariant=True,
        better="lower",
        function=collapse.nc3,
    ),
    "nc4": DiagnosticEntry(
        summary="share of images for which the model predicts the class of the nearest mean",
        definition="share of images with argmax of the logits = argmin_c ‖z-μ_c‖",
        invariant=True,
        better="higher",
        function=collapse.nc4_agreement,
    ),
    "cov_norm": DiagnosticEntry(
        summary="variation of the lengths of the latents",
        definition="std/mean over images of ‖z‖",
        invariant=True,
        better="lower",
        function=collapse.cov_norm,
    ),
    "cov_abs": DiagnosticEntry(
        summary="variation of the absolute values of the entries of the latents",
        definition="std/mean over images and dimensions of abs(z_ij)",
        invariant=True,
        better="lower",
        function=collapse.cov_abs,
    ),
    "mean_norm": DiagnosticEntry(
        summary="mean length of the latents",
        definition="mean over images of ‖z‖",
        invariant=False,
        better="",
        function=collapse.mean_norm,
    ),
    "distance_ratio": DiagnosticEntry(
        summary="distance to the mean of the own class relative to the nearest mean of another class",
        definition="median over images of ‖z-μ_y‖ / min over c≠y of ‖z-μ_c‖",
        invariant=True,
        better="lower",
        function=collapse.distance_ratio,
    ),
    "dimensions_used": DiagnosticEntry(
        summary="number of dimensions that the class means span",
        definition="number of singular values of the centred class means above 1e-6 of the largest",
        invariant=True,
        better="",
        function=collapse.dimensions_used,
    ),
    "effective_rank": DiagnosticEntry(
        summary="effective number of dimensions of the class means",
        definition="exp of the entropy of the eigenvalues of Σ_B divided by their sum",
        invariant=True,
        better="",
        function=collapse.effective_rank,
    ),
    "entropy": DiagnosticEntry(
        summary="entropy of the latents at unit scale",
        definition="Kozachenko-Leonenko, 20 neighbours, nats per dimension, of (z - mean)/rms; Gaussian: 1.419",
        invariant=True,
        better="lower",
        function=entropy.entropy,
    ),
    "binarity_mean": DiagnosticEntry(
        summary="closeness to two values, mean over dimensions",
        definition="mean of (R - 2/π)/(1 - 2/π), R the share of variance that the best split explains; Gaussian: 0",
        invariant=True,
        better="higher",
        function=binarity.binarity_mean,
    ),
    "binarity_min": DiagnosticEntry(
        summary="closeness to two values, minimum over dimensions",
        definition="minimum of (R - 2/π)/(1 - 2/π), R the share of variance that the best split explains; Gaussian: 0",
        invariant=True,
        better="higher",
        function=binarity.binarity_min,
    ),
    "vertex_cosine": DiagnosticEntry(
        summary="alignment of the class means with corners of a hypercube around the origin",
        definition="mean over classes of ‖μ_c‖₁ / (√d ‖μ_c‖₂); Gaussian means: 0.798",
        invariant=True,
        better="higher",
        function=binarity.vertex_cosine,
    ),
}
for _name, _entry in _BUILTIN.items():
    DIAGNOSTICS.register(_name, _entry, origin=BUILTIN)
