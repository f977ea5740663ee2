"""Latents of a model as arrays, statistics of their classes, and values that may be undefined with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Smaller singular values of the class means, relative to the largest one, are rounding errors of a float32 network.
#: They would dominate the pseudo-inverse.
RANK_TOLERANCE = 1e-6
#: Smaller relative differences of two numbers are rounding errors of float64.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Value:
    """A finite number, or nan with the reason why it is undefined."""

    value: float
    reason: str = ""  # clause without full stop if value is nan, otherwise empty

    def __post_init__(self) -> None:
        if math.isinf(self.value) or math.isnan(self.value) != bool(self.reason):
            raise ValueError(
                f"a value must be finite, or nan with a reason; got {self.value} with reason {self.reason!r}"
            )


def undefined(reason: str) -> Value:
    """Return an undefined value with its reason."""
    return Value(math.nan, reason)


FEW_CLASSES = undefined("fewer than two classes are present")
MEANS_COINCIDE = undefined("the class means coincide")


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Latents grouped by class. The rows of (K', ...) arrays are the K' classes with an image, see ``present``."""

    present: Ints  # (K',), ascending labels
    counts: Ints  # (K',), images per class, at least 1
    position: Ints  # (N,), row of each image's class in ``present``
    means: Floats  # (K', d)
    residuals: Floats  # (N, d), each latent minus the mean of its class
    global_mean: Floats  # (d,), mean of the class means, or of all latents
    centred: Floats  # (K', d), class means minus the global mean
    floor: float  # lengths up to this value are rounding errors; proportional to the largest latent norm

    @cached_property
    def between(self) -> tuple[Floats, Floats]:
        """Singular values s (r,), descending, and right singular vectors (r, d) of ``centred``, of numerical rank r.

        The eigenvalues of Σ_B = centredᵀ centred / K' are s²/K', and the singular vectors are its eigenvectors. K'
        vectors, centred by any weighted mean of them, span at most K'-1 dimensions, so the K'-th singular value is
        always a rounding error.
        """
        _, s, vt = np.linalg.svd(self.centred, full_matrices=False)
        rank = min(int(np.count_nonzero(s > max(RANK_TOLERANCE * s[0], self.floor))), len(self.present) - 1)
        return s[:rank], vt[:rank]


@dataclass(frozen=True, eq=False)
class Latents:
    """Penultimate outputs of N images, with labels, output weights and predictions.

    All arrays are read-only: one diagnostic cannot change the input of another, nor the labels of the data set. Raise
    ValueError if types, shapes or labels are inconsistent.
    """

    z: Floats  # (N, d), finite
    labels: Ints  # (N,), true labels in [0, K)
    num_classes: int  # K
    weights: Floats | None = None  # (K, d), weights of the output layer; None if the logits are not linear in z
    predictions: Ints | None = None  # (N,), argmax of the model's logits

    def __post_init__(self) -> None:
        if self.z.ndim != 2 or self.z.dtype != np.float64 or not self.z.size:
            raise ValueError(f"z must be (N, d) float64 with N and d above 0; got {self.z.shape} {self.z.dtype}")
        if not np.isfinite(self.z).all():
            raise ValueError("z contains nan or infinity")
        self._check_labels("labels", self.labels)
        if self.predictions is not None:
            self._check_labels("predictions", self.predictions)
        if self.weights is not None:
            shape = (self.num_classes, self.z.shape[1])
            if self.weights.shape != shape or self.weights.dtype != np.float64:
                raise ValueError(f"weights must be {shape} float64; got {self.weights.shape} {self.weights.dtype}")
            if not np.isfinite(self.weights).all():
                raise ValueError("weights contain nan or infinity")
        for name in ("z", "labels", "weights", "predictions"):
            self._protect(name)

    def _protect(self, name: str) -> None:
        """Replace an array by a read-only view; the array of the caller stays writable."""
        array = getattr(self, name)
        if array is not None:
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def _check_labels(self, name: str, labels: Ints) -> None:
        if labels.shape != (len(self.z),) or labels.dtype.kind not in "iu":
            raise ValueError(f"{name} must be ({len(self.z)},) integers; got {labels.shape} {labels.dtype}")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(f"{name} must be in [0, {self.num_classes}); got {labels.min()} to {labels.max()}")

    @cached_property
    def classes(self) -> ClassStatistics:
        """Statistics of the images grouped by true label. The global mean is the mean of the class means."""
        return self._grouped(self.labels, by_image=False)

    @cached_property
    def predicted_classes(self) -> ClassStatistics | None:
        """Statistics of the images grouped by predicted class; None without predictions.

        The global mean is the mean of all latents. Both choices are those of the authors' code (arXiv 2310.08224).
        """
        return None if self.predictions is None else self._grouped(self.predictions, by_image=True)

    def _grouped(self, labels: Ints, *, by_image: bool) -> ClassStatistics:
        """Group the images by ``labels``, (N,). With ``by_image``, the global mean weights all images equally."""
        present, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
        means = np.empty((len(present), self.z.shape[1]))
        residuals = np.empty_like(self.z)
        for row, members in enumerate(np.split(np.argsort(position, kind="stable"), np.cumsum(counts)[:-1])):
            means[row], residuals[members] = _centre(self.z[members])
        global_mean, centred = _centre(means, counts if by_image else None)
        floor = ROUNDING * float(np.linalg.norm(self.z, axis=1).max())
        return ClassStatistics(present, counts, position, means, residuals, global_mean, centred, floor)

    @cached_property
    def distances(self) -> Floats:
        """Distances (N, K') from latents to class means, computed from differences to keep precision."""
        return np.asarray(cdist(self.z, self.classes.means))


def _centre(rows: Floats, weights: Ints | None = None) -> tuple[Floats, Floats]:
    """Return the mean of ``rows`` (n, d), weighted by ``weights`` (n,) if given, and the rows minus their mean.

    The mean is computed relative to the first row. Equal rows therefore differ from their mean by exactly zero, and a
    narrow cluster far from the origin loses no digits.
    """
    shifted = rows - rows[0]
    shift = shifted.mean(axis=0) if weights is None else np.average(shifted, axis=0, weights=weights)
    return rows[0] + shift, shifted - shift
