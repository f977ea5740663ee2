"""The plane in which the class means differ most."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Projection:
    """Two orthonormal directions and the latents along them; along a direction that does not exist all are zero."""

    points: Floats  # (N, 2), seen from the mean of the class means
    means: Floats  # (K, 2), of the classes that occur, in ascending order
    shares: tuple[float, float]  # of the latents' total variance; 0 where there is none
    origins: tuple[str, str]  # what each direction was found in; empty for one that does not exist


def project(values: Floats, classes: Ints) -> Projection:
    """Project (N, d) latents on the two directions in which the class means differ most.

    They are the first right singular vectors of the means, less their mean. Where these span less than a plane (one or
    two classes, equal means), the rest comes from the latents, less their mean and the direction already found.
    """
    present = np.unique(classes)
    means = np.stack([values[classes == c].mean(axis=0) for c in present])
    centre = means.mean(axis=0)
    around = values - values.mean(axis=0)
    floor = 1e-9 * float(np.abs(values).max()) * math.sqrt(values.shape[0])  # below it: rounding
    directions = _main_directions(means - centre, floor)
    origins = ["class means"] * len(directions)
    if len(directions) < 2:
        rest = around - around @ directions.T @ directions
        directions = np.concatenate([directions, _main_directions(rest, floor)])[:2]
        origins += ["images"] * (len(directions) - len(origins))
    missing = 2 - len(directions)
    directions = np.concatenate([directions, np.zeros((missing, values.shape[1]))])
    total = float(np.square(around).sum())
    along = np.square(around @ directions.T).sum(axis=0)
    shares = along / total if total > floor**2 else np.zeros(2)
    first, second = [*origins, *[""] * missing]
    return Projection(
        points=(values - centre) @ directions.T,
        means=(means - centre) @ directions.T,
        shares=(float(shares[0]), float(shares[1])),
        origins=(first, second),
    )


def _main_directions(rows: Floats, floor: float) -> Floats:
    """At most two right singular vectors of ``rows``, (≤2, d), of singular values above ``floor``.

    The largest entry of each is positive: the sign of a singular vector is arbitrary, and a figure's should not be.
    """
    _, singular, vectors = np.linalg.svd(rows, full_matrices=False)
    vectors = vectors[:2][singular[:2] > floor]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return np.asarray(vectors * np.sign(largest), dtype=np.float64)
