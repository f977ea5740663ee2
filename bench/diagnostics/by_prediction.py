"""NC1 and NC2 of images grouped by predicted class, as the authors of latent point collapse compute them.

The code for arXiv 2310.08224 (November 2024 and November 2025) replaces two choices of Papyan et al. 2020. μ_c is the
mean of the images *predicted* as class c, misclassified images included, and μ_G is the mean of all images. The values
are the same as those of :mod:`bench.diagnostics.collapse` if all predictions are correct and all classes have equally
many images. Otherwise NC1 is lower: a misclassified image lies in the cluster of its predicted class, where it adds
little variability, and far from the mean of its true class. Compare published values with these, and use the values by
true label to judge collapse.

The authors' values are NaN if only one image is predicted as some class. Here, such a class is left out of Σ_W.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.diagnostics.collapse import equiangularity_of, equinorm_of, max_angle_of, nc1_of
from bench.diagnostics.latents import ClassStatistics, Latents, Value, undefined


def nc1_by_prediction(latents: Latents) -> Value:
    """Return NC1 of the predicted classes. Undefined without predictions, and as :func:`collapse.nc1`."""
    return _by_prediction(latents, nc1_of)


def equiangularity_by_prediction(latents: Latents) -> Value:
    """Return the equiangularity of the predicted classes. Undefined as for :func:`nc1_by_prediction`."""
    return _by_prediction(latents, equiangularity_of)


def max_angle_by_prediction(latents: Latents) -> Value:
    """Return the deviation of the predicted classes from maximal angles. Undefined as :func:`nc1_by_prediction`."""
    return _by_prediction(latents, max_angle_of)


def equinorm_by_prediction(latents: Latents) -> Value:
    """Return the equinorm value of the predicted classes. Undefined as for :func:`nc1_by_prediction`."""
    return _by_prediction(latents, equinorm_of)


def _by_prediction(latents: Latents, function: Callable[[ClassStatistics], Value]) -> Value:
    stats = latents.predicted_classes
    return undefined("no predictions were given") if stats is None else function(stats)
