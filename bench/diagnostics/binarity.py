"""Binarity: closeness of the latents to two values in every dimension, the corners of a hypercube.

Both are invariant under z → c z, W → W/c (c > 0), neither under rotations: the axes are what they are about.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bench.diagnostics.latents import ROUNDING, Floats, Latents, Value, undefined

#: Share of a Gaussian's variance that the best split explains: it cuts at the mean, and (E abs x)² = 2/π.
GAUSSIAN_SHARE = 2 / np.pi


class Binarity(NamedTuple):
    """The scores of the dimensions that vary, in their order, and how many do not vary."""

    scores: Floats
    constant: int


def best_split(values: Floats) -> float:
    """R, the largest share of the variance of ``values`` (n,) that a split at two means explains, in (0, 1].

    max over m of S_m² (1/m + 1/(n-m)) / Σ x², with x the sorted values minus their mean and S_m the sum of its first m:
    exact 2-means in one dimension. The halves need not be equal. ``values`` may not all be equal.
    """
    x = np.sort(values)
    x -= x[0]  # first, so that a large offset costs no digits
    x -= x.mean()
    x /= np.abs(x).max()
    size = np.arange(1, len(x))
    between = np.square(np.cumsum(x)[:-1]) * (1 / size + 1 / (len(x) - size))
    return min(1.0, float(between.max() / np.sum(np.square(x))))


def binarity(z: Floats) -> Binarity:
    """b_j = (R_j - 2/π) / (1 - 2/π) for each dimension j of ``z`` (N, d), R_j as in :func:`best_split`.

    1 for two values, however unequal in number; 0 for a Gaussian (above by O(1/N) on N samples); 0.31 for a uniform
    density; NEGATIVE for heavy tails, down to -1.75. Not clipped: clipping would make the mean over Gaussian dimensions
    positive. No width is floored either, so two values at distance 1 and a spread of σ each give 1 - O(σ²) for every σ.
    """
    largest, range_ = np.abs(z).max(axis=0), np.ptp(z, axis=0)
    varying = np.flatnonzero(range_ > ROUNDING * largest)
    shares = np.array([best_split(z[:, j]) for j in varying])
    return Binarity((shares - GAUSSIAN_SHARE) / (1 - GAUSSIAN_SHARE), z.shape[1] - len(varying))


def binarity_mean(latents: Latents) -> Value:
    """The mean of b_j (see :func:`binarity`) over the dimensions j that vary. In [-1.75, 1].

    Undefined when every dimension is constant, and for fewer than three images, as any two are binary.
    """
    scores = _scores(latents)
    return scores if isinstance(scores, Value) else Value(float(scores.mean()))


def binarity_min(latents: Latents) -> Value:
    """The least of b_j (see :func:`binarity`) over the dimensions j that vary. In [-1.75, 1].

    Undefined when every dimension is constant, and for fewer than three images, as any two are binary.
    """
    scores = _scores(latents)
    return scores if isinstance(scores, Value) else Value(float(scores.min()))


def vertex_cosine(latents: Latents) -> Value:
    """The mean over classes of cos(μ_c, v_c) = ‖μ_c‖₁ / (√d ‖μ_c‖₂), v_c the corner of {-1, 1}^d nearest to μ_c.

    About the origin, not the global mean: the penalty that makes latents binary pulls to the origin. In [1/√d, 1];
    1 on a hypercube. Means drawn from a Gaussian have sqrt(2/π) = 0.798 in high dimension, a little more in low; that
    is the level of no alignment. Always 1 for d = 1. Undefined when a class mean is zero.
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
