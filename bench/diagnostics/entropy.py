"""Estimate the differential entropy of the latents from nearest-neighbour distances.

Source: L. F. Kozachenko and N. N. Leonenko, "Sample estimate of the entropy of a random vector" (1987), with k
neighbours as in A. Kraskov, H. Stögbauer and P. Grassberger, "Estimating mutual information" (2004).
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
    """Return the entropy in nats per dimension: H = [ψ(N) - ψ(k) + log V_d + d · mean_i log ε_i] / d.

    ``points`` is (N, d). ε_i is the Euclidean distance from point i to its k-th neighbour, not counting the point
    itself. k is reduced to N-1 if it is larger. V_d = π^(d/2) / Γ(d/2 + 1) is the volume of the unit ball. Not
    invariant: the entropy of c · points is H + log c.

    Undefined for fewer than two points, and if a k-th neighbour coincides with its point, because no density exists
    then. Raise ValueError if k < 1.
    """
    n, d = points.shape
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}")
    if n < 2:
        return FEW_IMAGES
    k = min(k, n - 1)
    # The tree computes differences. Matrix products would lose digits: classes narrower than 1e-8 would become points.
    distances, _ = cKDTree(points).query(points, k=[k + 1])  # the first neighbour is the point itself
    if not distances.all():
        return undefined("some k-th neighbours coincide")
    log_ball = d / 2 * math.log(math.pi) - gammaln(d / 2 + 1)
    return Value(float((digamma(n) - digamma(k) + log_ball) / d + np.log(distances).mean()))


def entropy(latents: Latents) -> Value:
    """Return the entropy in nats per dimension of (z - mean z) / s, s² = mean of (z_ij - mean_j)² over all N d entries.

    One common scale s makes the value invariant under z → c z and keeps the shape. With a separate scale per dimension,
    unused directions would have the same weight as used ones. The value measures only the shape: it is small if the
    latents concentrate at few points or in few directions. The largest possible value of a density is the value of an
    isotropic Gaussian, 0.5 log(2πe) = 1.419. For collapsing latents the value tends to -∞.

    The estimate uses k = 20 Euclidean neighbours. It cannot resolve structures smaller than the distance between
    neighbours. Classes of at most k images seem as wide as the distance to the next class. A much narrower direction
    also seems as wide as the distance between neighbours. Compare only values for equal numbers of images. Also
    invariant under shifts and rotations. Undefined for fewer than two images, and if all latents or some k-th
    neighbours coincide.
    """
    if len(latents.z) < 2:
        return FEW_IMAGES
    shifted = latents.z - latents.z[0]  # equal latents become exactly zero
    centred = shifted - shifted.mean(axis=0)
    scale = float(np.sqrt(np.mean(np.square(centred))))
    if scale <= ROUNDING * float(np.abs(latents.z).max()):
        return undefined("all latents coincide")
    return kozachenko_leonenko(centred / scale)
