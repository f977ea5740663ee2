"""Project latents onto the plane in which the class means differ most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Projection:
    """Latents and class means in two orthonormal directions. Coordinates in a missing direction are zero."""

    points: Floats  # (N, 2), latents relative to the mean of the class means
    means: Floats  # (K, 2), class means of the classes present, in ascending order
    shares: tuple[float, float]  # share of the latents' total variance per direction; 0 without variance
    origins: tuple[str, str]  # source of the direction: "class means" or "images"; empty if missing


def project(values: Floats, classes: Ints) -> Projection:
    """Project (N, d) latents onto the two directions in which the class means differ most.

    The directions are the first right singular vectors of the centred class means. The class means may span less than a
    plane (one or two classes, equal means). The remaining directions are then singular vectors of the centred latents,
    orthogonal to the first direction.
    """
    present = np.unique(classes)
    means = np.stack([values[classes == c].mean(axis=0) for c in present])
    centre = means.mean(axis=0)
    around = values - values.mean(axis=0)
    floor = 1e-9 * float(np.abs(values).max()) * math.sqrt(values.shape[0])  # smaller values are rounding errors
    directions = _main_directions(means - centre, floor)
    origins = ["class means"] * len(directions)
    if len(directions) < 2:
        residuals = around - around @ directions.T @ directions
        directions = np.concatenate([directions, _main_directions(residuals, floor)])[:2]
        origins += ["images"] * (len(directions) - len(origins))
    missing = 2 - len(directions)
    directions = np.concatenate([directions, np.zeros((missing, values.shape[1]))])
    total = float(np.square(around).sum())
    explained = np.square(around @ directions.T).sum(axis=0)
    shares = explained / total if total > floor**2 else np.zeros(2)
    first, second = [*origins, *[""] * missing]
    return Projection(
        points=(values - centre) @ directions.T,
        means=(means - centre) @ directions.T,
        shares=(float(shares[0]), float(shares[1])),
        origins=(first, second),
    )


def _main_directions(rows: Floats, floor: float) -> Floats:
    """Return at most two right singular vectors of ``rows``, (≤2, d), with singular values above ``floor``.

    The largest entry of each vector is made positive, because the sign of a singular vector is arbitrary.
    """
    _, singular, vectors = np.linalg.svd(rows, full_matrices=False)
    vectors = vectors[:2][singular[:2] > floor]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return np.asarray(vectors * np.sign(largest), dtype=np.float64)
