"""results.csv, behind the other columns: what a diagnosis measures."""

from __future__ import annotations

#: results.csv, behind the other columns: one diagnosis a run, repeated in each of its rows. z is the latent of an
#: image, μ_c the mean of z over the images of true class c, μ the mean of the μ_c, W the output weights, K classes,
#: d dimensions. *Invariant* is what does not change when z becomes c·z and W becomes W/c, which leaves the network
#: as it is.
COLLAPSE_COLUMNS = {
    "collapse_nc1": "within-class variability tr(Σ_W Σ_B⁺)/K; 0 when every class is a point; invariant",
    "collapse_equiangularity": "standard deviation over pairs of classes of cos(μ_i − μ, μ_j − μ); invariant",
    "collapse_max_angle": "mean over pairs of classes of abs(cos(μ_i − μ, μ_j − μ) + 1/(K − 1)); invariant",
    "collapse_equinorm": "standard deviation / mean over classes of ‖μ_c − μ‖; invariant",
    "collapse_nc3": "‖W/‖W‖ − M/‖M‖‖, Frobenius, M the rows μ_c − μ; empty for cosine logits; invariant",
    "collapse_nc4": "share of images whose predicted class is that of the nearest class mean; invariant",
    "collapse_cov_norm": "standard deviation / mean over images of ‖z‖; invariant",
    "collapse_cov_abs": "standard deviation / mean over images and dimensions of abs(z_j); invariant",
    "collapse_mean_norm": "mean over images of ‖z‖; scales with z",
    "collapse_distance_ratio": "median over images of ‖z − μ_y‖ / min over c ≠ y of ‖z − μ_c‖; invariant",
    "collapse_dimensions_used": "rank of the class means about their mean; invariant",
    "collapse_effective_rank": "exp of the entropy of the shares of the eigenvalues of Σ_B; invariant",
    "collapse_entropy": (
        "Kozachenko–Leonenko entropy of z at unit root mean square, 20 neighbours, nats a dimension; 1.42 for a "
        "Gaussian; invariant"
    ),
    "collapse_binarity_mean": (
        "share of a dimension's variance that two values explain, rescaled so that a Gaussian has 0 and two values "
        "have 1; mean over dimensions; invariant"
    ),
    "collapse_binarity_min": "the same, least over dimensions; invariant",
    "collapse_vertex_cosine": "mean over classes of cos(μ_c, sign μ_c), 1 at a vertex of a hypercube; invariant",
}
#: Behind a column of COLLAPSE_COLUMNS: on training images, not augmented, in place of test images.
TRAIN_SUFFIX = "_train"
STEEPNESS_COLUMNS = {
    "lipschitz_head_bound": (
        "upper bound, over all features h, of ‖∂(o_i − o_j)/∂h‖₂ for the layers behind the backbone; empty for cosine "
        "logits; invariant where there is a penultimate layer"
    ),
    "lipschitz_head_local_max": (
        "largest ‖∂m/∂h‖₂ over test images, m = o_y − max over j ≠ y of o_j; invariant where there is a penultimate "
        "layer"
    ),
    "lipschitz_head_local_mean": "mean ‖∂m/∂h‖₂ over test images; invariant where there is a penultimate layer",
    "margin_gradient_norm_max": (
        "largest ‖∂m/∂x‖₂ over test images, x in [0, 1] pixels; invariant, but grows with the scale of the logits"
    ),
    "margin_gradient_norm_mean": ("mean ‖∂m/∂x‖₂ over test images; invariant, but grows with the scale of the logits"),
    "lipschitz_zero_gradient_share": (
        "share of test images on which ∂m/∂x is exactly 0; a cross-entropy has vanishing gradients earlier; invariant"
    ),
    "lipschitz_local_radius": (
        "median over correct test images of m/‖∂m/∂x‖₂, in pixel L2; invariant, also to a scale of the logits"
    ),
    "nearest_median_distance": (
        "median over correct images of the distance to the nearest adversarial image known, pixel L2: the smallest of "
        "DDN's, FMN's, targeted FAB's and DeepFool's per image, those never fooled at infinity; an upper bound; "
        "invariant"
    ),
    "nearest_rho": "mean ‖r‖/‖x‖ in pixels of those perturbations, over correct images that were fooled; invariant",
    "nearest_fooled_share": "share of the correct images that any of the four fooled; invariant",
    "deepfool_rho_authors": (
        "mean ‖r‖/‖x‖ of DeepFool as the method's authors compute it: in normalised space, all images, pixels beyond "
        "[0, 1] allowed, r as it comes; invariant"
    ),
    "deepfool_rho_pixels": "mean ‖r‖/‖x‖ in pixels, clipped to [0, 1], over correct images that were fooled; invariant",
    "deepfool_rho_boundary": (
        "the same after r was shortened, by bisection, to the boundary it crosses: its direction stays DeepFool's "
        "first-order guess; invariant"
    ),
    "deepfool_fooled_share": "share of the correct images that DeepFool fooled in pixels; invariant",
    "deepfool_median_distance": (
        "median ‖r‖₂ of the shortened perturbations over correct images, in pixel L2, those not fooled at infinity; "
        "invariant"
    ),
}
TRAINING_COLUMNS = {
    "train_acc": (
        "share of the training images behind the collapse_…_train columns that are classified correctly, in evaluation "
        "mode, without augmentation; invariant"
    ),
}
#: Columns with an interval: 95 %, percentile bootstrap over images, in two columns with these suffixes.
INTERVAL_COLUMNS = (
    "nearest_median_distance",
    "nearest_rho",
    "deepfool_rho_authors",
    "deepfool_rho_pixels",
    "deepfool_rho_boundary",
    "deepfool_median_distance",
)
INTERVAL_SUFFIXES = {
    "_lo": "lower end of its 95 % bootstrap interval (sampling of images); empty for fewer than 30 images; invariant",
    "_hi": (
        "upper end of its 95 % bootstrap interval; empty for fewer than 30 images, or where it lies beyond every "
        "distance found; invariant"
    ),
}
COUNT_COLUMNS = {
    "collapse_n": "number of test images behind the collapse_ columns",
    "collapse_n_train": "number of training images behind the collapse_…_train columns",
    "lipschitz_n": "number of test images behind the lipschitz_ columns",
    "deepfool_n": "number of test images behind deepfool_rho_authors",
    "deepfool_n_correct": "how many of them are classified correctly",
    "deepfool_n_fooled": "how many of those DeepFool fooled: the images behind deepfool_rho_pixels and _boundary",
    "nearest_n_fooled": "how many of the correct images any of the four attacks fooled: the images behind nearest_rho",
    "nearest_n_unknown": (
        "how many of the correct images are left out of the nearest_ columns: none of the four fooled them, and the "
        "model returned NaN or infinite logits near them"
    ),
}
DIAGNOSTIC_COLUMNS = {
    **COLLAPSE_COLUMNS,
    **{f"{name}{TRAIN_SUFFIX}": f"{meaning}; on training images" for name, meaning in COLLAPSE_COLUMNS.items()},
    **STEEPNESS_COLUMNS,
    **TRAINING_COLUMNS,
    **{name + suffix: f"{name}: {text}" for name in INTERVAL_COLUMNS for suffix, text in INTERVAL_SUFFIXES.items()},
    **COUNT_COLUMNS,
}
