"""Neural collapse of the latents: within-class variability and the geometry of the class means.

Notation:

- z_i (d,): latent of image i
- y_i: true label of image i
- μ_c: mean of z over the images of class c
- μ_G: mean of the class means
- K': number of classes with an image
- M (K', d): matrix with rows μ_c - μ_G

Standard deviations divide by the number of values. "Invariant" means: unchanged if z becomes c z and the output weights
W become W/c for some c > 0. The function of the model does not change then.

Source of NC1 to NC4: V. Papyan, X. Y. Han and D. L. Donoho, "Prevalence of neural collapse during the terminal phase of
deep learning training", PNAS 117 (2020). The images are grouped by true label, as in the source;
:mod:`bench.diagnostics.by_prediction` groups them by predicted class.
"""

from __future__ import annotations

import numpy as np

from bench.diagnostics.latents import FEW_CLASSES, MEANS_COINCIDE, ClassStatistics, Floats, Latents, Value, undefined


def nc1(latents: Latents) -> Value:
    """Return NC1, the within-class variability relative to the between-class variability: tr(Σ_W Σ_B⁺) / K'.

    Σ_W (d, d) is the mean over classes of the covariance within a class, with denominator n_c - 1. Classes with one
    image have no covariance and are left out of Σ_W. Σ_B (d, d) is the mean over classes of (μ_c-μ_G)(μ_c-μ_G)ᵀ. The
    pseudo-inverse keeps the singular values of M that exceed 1e-6 of the largest, at most K'-1. With M = U diag(s) V,
    NC1 is the mean over classes of Σ_i ‖V(z_i-μ_c)/s‖² / (n_c-1). This form needs no (d, d) matrix. Variability
    orthogonal to the class means is ignored.

    As Papyan et al. 2020, but with denominator n_c - 1 instead of n_c. Invariant, also under shifts and rotations of z.
    In [0, ∞). Undefined if fewer than two classes are present, the class means coincide, or no class has two images.
    """
    return nc1_of(latents.classes)


def nc1_of(stats: ClassStatistics) -> Value:
    """Return NC1 of :func:`nc1` for any grouping of the images."""
    if len(stats.present) < 2:
        return FEW_CLASSES
    s, vectors = stats.between
    if not len(s):
        return MEANS_COINCIDE
    has_two_images = stats.counts > 1
    if not has_two_images.any():
        return undefined("no class has two images")
    squares = np.square(stats.residuals @ vectors.T / s).sum(axis=1)
    within = np.bincount(stats.position, weights=squares)[has_two_images] / (stats.counts[has_two_images] - 1)
    return Value(float(within.mean()))


def equiangularity(latents: Latents) -> Value:
    """Return the equiangularity of NC2: the standard deviation over pairs of classes of cos(μ_i-μ_G, μ_j-μ_G).

    Papyan et al. 2020. Invariant. In [0, 1]; 0 for a simplex. Always 0 for two classes, because their centred means are
    opposite. Undefined if fewer than two classes are present or a class mean equals μ_G.
    """
    return equiangularity_of(latents.classes)


def equiangularity_of(stats: ClassStatistics) -> Value:
    """Return the value of :func:`equiangularity` for any grouping of the images."""
    cosines = _cosines_of_pairs(stats)
    return cosines if isinstance(cosines, Value) else Value(float(cosines.std()))


def max_angle(latents: Latents) -> Value:
    """Return the deviation from maximal angles of NC2: the mean over pairs of abs(cos(μ_i-μ_G, μ_j-μ_G) + 1/(K'-1)).

    Papyan et al. 2020. Invariant. In [0, 1.5]; 0 for a simplex. Always 0 for two classes. Undefined if fewer than two
    classes are present or a class mean equals μ_G.
    """
    return max_angle_of(latents.classes)


def max_angle_of(stats: ClassStatistics) -> Value:
    """Return the value of :func:`max_angle` for any grouping of the images."""
    cosines = _cosines_of_pairs(stats)
    if isinstance(cosines, Value):
        return cosines
    return Value(float(np.abs(cosines + 1 / (len(stats.present) - 1)).mean()))


def equinorm(latents: Latents) -> Value:
    """Return the equinorm value of NC2: std_c / mean_c of ‖μ_c-μ_G‖.

    Papyan et al. 2020. Invariant. In [0, ∞); 0 for a simplex. Always 0 for two classes. Undefined if fewer than two
    classes are present or the class means coincide.
    """
    return equinorm_of(latents.classes)


def equinorm_of(stats: ClassStatistics) -> Value:
    """Return the value of :func:`equinorm` for any grouping of the images."""
    if len(stats.present) < 2:
        return FEW_CLASSES
    norms = np.linalg.norm(stats.centred, axis=1)
    return MEANS_COINCIDE if norms.max() <= stats.floor else _variation(norms)


def nc3(latents: Latents) -> Value:
    """Return NC3, self-duality: ‖ W/‖W‖_F - M/‖M‖_F ‖_F.

    W (K', d) has the rows of the output layer for the classes present. The rows are not centred, as in Papyan et al.
    2020. A vector added to every row of W changes this value but no prediction.

    Invariant, even under separate positive factors of z and W. In [0, 2]; 0 if W is proportional to M with a positive
    factor. Undefined without weights, if fewer than two classes are present, the class means coincide, or W is zero.
    """
    stats = latents.classes
    if latents.weights is None:
        return undefined("the logits are not linear in the latents")
    if len(stats.present) < 2:
        return FEW_CLASSES
    if np.linalg.norm(stats.centred, axis=1).max() <= stats.floor:
        return MEANS_COINCIDE
    rows = latents.weights[stats.present]
    size = np.linalg.norm(rows)
    if size == 0:
        return undefined("the output weights are zero")
    return Value(float(np.linalg.norm(rows / size - stats.centred / np.linalg.norm(stats.centred))))


def nc4_agreement(latents: Latents) -> Value:
    """Return NC4, agreement with the nearest class mean: share of images with argmin_c ‖z_i-μ_c‖ = argmax(W z_i + b).

    c runs over the classes present. In a tie, the lowest label is used. Papyan et al. 2020 define one minus this value.
    Invariant. In [0, 1]; 1 for collapsed latents. Undefined without predictions, if fewer than two classes are present,
    or if the class means coincide.
    """
    stats = latents.classes
    if latents.predictions is None:
        return undefined("no predictions were given")
    if len(stats.present) < 2:
        return FEW_CLASSES
    if np.linalg.norm(stats.centred, axis=1).max() <= stats.floor:
        return MEANS_COINCIDE
    nearest = stats.present[latents.distances.argmin(axis=1)]
    return Value(float(np.mean(nearest == latents.predictions)))


def cov_norm(latents: Latents) -> Value:
    """Return the deviation from a sphere around the origin: std_i / mean_i of ‖z_i‖.

    Invariant. In [0, ∞). Undefined for a single image, and if every latent is zero.
    """
    return _variation(np.linalg.norm(latents.z, axis=1))


def cov_abs(latents: Latents) -> Value:
    """Return the deviation from the corners of a cube around the origin: std / mean of abs(z_ij) over all N d entries.

    Invariant. In [0, ∞); sqrt(π/2 - 1) = 0.756 for a standard Gaussian. Undefined for a single entry, and if every
    latent is zero.
    """
    return _variation(np.abs(latents.z).ravel())


def mean_norm(latents: Latents) -> Value:
    """Return the mean over images of ‖z_i‖. It is not invariant and thus no property of the model's function.

    In [0, ∞). Always defined.
    """
    return Value(float(np.linalg.norm(latents.z, axis=1).mean()))


def distance_ratio(latents: Latents) -> Value:
    """Return the median over i of ‖z_i-μ_{y_i}‖ / min_{c≠y_i} ‖z_i-μ_c‖, the closeness to the mean of the own class.

    The own class of an image is its true label. The ratio is used instead of its reciprocal, so that exact collapse is
    0 and not infinite. The median is used because the ratio and its reciprocal have heavy tails. Images of classes with
    one image are left out, because they equal their class mean for every model.

    Invariant, also under shifts and rotations. In [0, ∞); below 1 if most images are nearest to the mean of their own
    class. Undefined if fewer than two classes are present, or if no class has two images. Also undefined if an image
    equals the means of its own class and of another class, or if the median image equals the mean of another class.
    """
    stats = latents.classes
    if len(stats.present) < 2:
        return FEW_CLASSES
    included = np.flatnonzero(stats.counts[stats.position] > 1)
    if not len(included):
        return undefined("no class has two images")
    to_means = latents.distances[included]
    rows, columns = np.arange(len(included)), stats.position[included]
    to_own_mean = to_means[rows, columns]
    to_means[rows, columns] = np.inf
    nearest = to_means.min(axis=1)
    if np.any((to_own_mean <= stats.floor) & (nearest <= stats.floor)):
        return undefined("two class means coincide")
    median = np.median(np.divide(to_own_mean, nearest, out=np.full_like(to_own_mean, np.inf), where=nearest > 0))
    return Value(float(median)) if np.isfinite(median) else undefined("most images lie on the mean of another class")


def dimensions_used(latents: Latents) -> Value:
    """Return the numerical rank of Σ_B: the number of singular values of M above 1e-6 of the largest, at most K'-1.

    Invariant. In 0 … min(d, K'-1); 0 if the class means coincide. Undefined if fewer than two classes are present.
    """
    return FEW_CLASSES if len(latents.classes.present) < 2 else Value(float(len(latents.classes.between[0])))


def effective_rank(latents: Latents) -> Value:
    """Return the effective number of dimensions of the class means: exp(-Σ_k p_k log p_k), p_k = s_k² / Σ_l s_l².

    s are the singular values of M, so p are the eigenvalues of Σ_B divided by their sum. Based on O. Roy and
    M. Vetterli, "The effective rank" (EUSIPCO 2007), where the singular values are not squared.

    Invariant. In [1, dimensions_used]; K'-1 for a simplex. Undefined if fewer than two classes are present or the class
    means coincide.
    """
    if len(latents.classes.present) < 2:
        return FEW_CLASSES
    s, _ = latents.classes.between
    if not len(s):
        return MEANS_COINCIDE
    p = np.square(s / s[0])
    p /= p.sum()
    return Value(float(np.exp(-np.sum(p * np.log(p)))))


def _cosines_of_pairs(stats: ClassStatistics) -> Floats | Value:
    """Return cos(μ_i-μ_G, μ_j-μ_G) for all i < j, (K'(K'-1)/2,), or an undefined value with a reason."""
    if len(stats.present) < 2:
        return FEW_CLASSES
    norms = np.linalg.norm(stats.centred, axis=1, keepdims=True)
    if norms.min() <= stats.floor:
        return undefined("a class mean lies at the global mean")
    units = stats.centred / norms
    cosines: Floats = (units @ units.T)[np.triu_indices(len(units), k=1)]
    return cosines


def _variation(sizes: Floats) -> Value:
    """Return std/mean of ``sizes`` ≥ 0."""
    if len(sizes) < 2:
        return undefined("one number has no spread")
    mean = sizes.mean()
    return Value(float(sizes.std() / mean)) if mean > 0 else undefined("every latent is zero")
