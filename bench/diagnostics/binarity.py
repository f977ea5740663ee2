"""Binarity: closeness of the latents to two values in every dimension, as at the corners of a hypercube.

All values are invariant under z → c z, W → W/c (c > 0). They are not invariant under rotations, because they describe
the coordinate axes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.diagnostics.latents import ROUNDING, Floats, Latents, Value, undefined

#: Share of the variance of a Gaussian that the best split explains. The split is at the mean, and (E abs x)² = 2/π.
GAUSSIAN_SHARE = 2 / np.pi


class Binarity(NamedTuple):
    """Scores of the non-constant dimensions in their order, and the number of constant dimensions."""

    scores: Floats
    constant: int


def best_split(values: Floats) -> float:
    """Return R, the largest share of the variance of ``values`` (n,) that a split into two groups explains, in (0, 1].

    R = max over m of S_m² (1/m + 1/(n-m)) / Σ x², with x the sorted values minus their mean and S_m the sum of the
    first m values of x. This is exact 2-means in one dimension. The groups may have different sizes. ``values`` must
    not all be equal.
    """
    x = np.sort(values)
    x -= x[0]  # subtracted before the mean, so that a large offset causes no loss of digits
    x -= x.mean()
    x /= np.abs(x).max()
    size = np.arange(1, len(x))
    between = np.square(np.cumsum(x)[:-1]) * (1 / size + 1 / (len(x) - size))
    return min(1.0, float(between.max() / np.sum(np.square(x))))


def binarity(z: Floats) -> Binarity:
    """Return b_j = (R_j - 2/π) / (1 - 2/π) for each dimension j of ``z`` (N, d), with R_j of :func:`best_split`.

    b_j is 1 for two values, even if one value is rare. It is 0 for a Gaussian (larger by O(1/N) for N samples), 0.31
    for a uniform density, and negative for heavy tails, down to -1.75. The scores are not clipped, because clipping
    would make the mean over Gaussian dimensions positive. Two values at distance 1 with a spread of σ each give
    1 - O(σ²) for every σ.
    """
    largest, range_ = np.abs(z).max(axis=0), np.ptp(z, axis=0)
    varying = np.flatnonzero(range_ > ROUNDING * largest)
    shares = np.array([best_split(z[:, j]) for j in varying])
    return Binarity((shares - GAUSSIAN_SHARE) / (1 - GAUSSIAN_SHARE), z.shape[1] - len(varying))


def binarity_mean(latents: Latents) -> Value:
    """Return the mean of b_j (see :func:`binarity`) over the non-constant dimensions j. In [-1.75, 1].

    Undefined if every dimension is constant, and for fewer than three images, because two values are always binary.
    """
    scores = _scores(latents)
    return scores if isinstance(scores, Value) else Value(float(scores.mean()))


def binarity_min(latents: Latents) -> Value:
    """Return the minimum of b_j (see :func:`binarity`) over the non-constant dimensions j. In [-1.75, 1].

    Undefined if every dimension is constant, and for fewer than three images, because two values are always binary.
    """
    scores = _scores(latents)
    return scores if isinstance(scores, Value) else Value(float(scores.min()))


def vertex_cosine(latents: Latents) -> Value:
    """Return the mean over classes of cos(μ_c, v_c) = ‖μ_c‖₁ / (√d ‖μ_c‖₂).

    v_c is the corner of {-1, 1}^d nearest to μ_c. The means are relative to the origin, not to the global mean, because
    the penalty that makes latents binary pulls the latents to the origin. In [1/√d, 1]; 1 on a hypercube. For means
    drawn from a Gaussian, the value is sqrt(2/π) = 0.798 in high dimension and slightly larger in low dimension. Always
    1 for d = 1. Undefined if a class mean is zero.
    """
    means = latents.classes.means
    norms = np.linalg.norm(means, axis=1)
    if norms.min() <= latents.classes.floor:
        return undefined("a class mean is zero")
    return Value(float(np.mean(np.abs(means).sum(axis=1) / norms) / np.sqrt(means.shape[1])))


def _scores(latents: Latents) -> Floats | Value:
    if len(latents.z) < 3:
        return undefined("fewer than three images")
    scores = binarity(latents.z).scores
    return scores if len(scores) else undefined("every dimension is constant")
