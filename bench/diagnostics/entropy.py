"""Differential entropy of the latents, from the distances to their neighbours.

L. F. Kozachenko and N. N. Leonenko, "Sample estimate of the entropy of a random vector" (1987); in the form with k
neighbours of A. Kraskov, H. Stögbauer and P. Grassberger, "Estimating mutual information" (2004).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from bench.diagnostics.latents import ROUNDING, Floats, Latents, Value, undefined

NEIGHBOURS = 20
FEW_IMAGES = undefined("fewer than two images")


def kozachenko_leonenko(points: Floats, k: int = NEIGHBOURS) -> Value:
    """Entropy in nats per dimension: H = [ψ(N) - ψ(k) + log V_d + d · mean_i log ε_i] / d.

    ``points`` is (N, d). ε_i: Euclidean distance from point i to its k-th neighbour, itself not counted; k is capped at
    N-1. V_d = π^(d/2) / Γ(d/2 + 1), the volume of the unit ball. NOT invariant: c · points has H + log c.

    Undefined for fewer than two points, and when a k-th neighbour coincides with its point (no density is left there).
    Raises ValueError when k < 1.
    """
    n, d = points.shape
    if k < 1:
        raise ValueError(f"k is at least 1; got {k}")
    if n < 2:
        return FEW_IMAGES
    k = min(k, n - 1)
    # A tree takes differences. Searches by matrix products cancel: classes tighter than 1e-8 would be points.
    distances, _ = cKDTree(points).query(points, k=[k + 1])  # the first neighbour is the point itself
    if not distances.all():
        return undefined("some k-th neighbours coincide")
    log_ball = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
    return Value(float((digamma(n) - digamma(k) + log_ball) / d + np.log(distances).mean()))


def entropy(latents: Latents) -> Value:
    """Entropy in nats per dimension of (z - mean z) / s, s² = mean of (z_ij - mean_j)² over all N d entries.

    One common scale s makes it invariant under z → c z and keeps the shape: were every dimension divided by its own
    deviation, a direction the model has given up would count as much as any other. It measures shape alone, how far
    the latents gather in few places or few directions: an isotropic Gaussian has 0.5 log(2πe) = 1.419, the most that a
    density can have, and collapse goes to -∞.

    k = 20 neighbours, Euclidean. They resolve nothing finer than the distance between them: classes of k images or
    fewer look as wide as the gap to the next class, and a direction much narrower than that distance looks that wide,
    so compare only values of as many images. Also invariant under shifts and rotations. Undefined for fewer than two
    images, and when all latents or some k-th neighbours coincide.
    """
    if len(latents.z) < 2:
        return FEW_IMAGES
    shifted = latents.z - latents.z[0]  # latents that coincide become exactly zero
    centred = shifted - shifted.mean(axis=0)
    scale = float(np.sqrt(np.mean(np.square(centred))))
    if scale <= ROUNDING * float(np.abs(latents.z).max()):
        return undefined("all latents coincide")
    return kozachenko_leonenko(centred / scale)
