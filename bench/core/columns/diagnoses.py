"""Columns of results.csv for the diagnosis."""

from __future__ import annotations

#: results.csv: one diagnosis per run, repeated in each of its rows. z is the latent of an image, μ_c the mean of z over
#: the images of true class c, μ the mean of the μ_c, W the output weights, K the number of classes, d the width of z.
#: *Invariant* quantities do not change if z is replaced by c·z and W by W/c, which does not change the logits.
COLLAPSE_COLUMNS = {
    "collapse_nc1": "within-class variability tr(Σ_W Σ_B⁺)/K; 0 if every class is a single point; invariant",
    "collapse_equiangularity": "standard deviation over pairs of classes of cos(μ_i − μ, μ_j − μ); invariant",
    "collapse_max_angle": "mean over pairs of classes of abs(cos(μ_i − μ, μ_j − μ) + 1/(K − 1)); invariant",
    "collapse_equinorm": "standard deviation / mean over classes of ‖μ_c − μ‖; invariant",
    "collapse_nc1_by_prediction": (
        "collapse_nc1 as the authors of the method compute it: images grouped by predicted class, misclassified images "
        "included, and μ the mean of all images; lower than collapse_nc1 at low accuracy; invariant"
    ),
    "collapse_equiangularity_by_prediction": "collapse_equiangularity of the same groups; invariant",
    "collapse_max_angle_by_prediction": "collapse_max_angle of the same groups; invariant",
    "collapse_equinorm_by_prediction": "collapse_equinorm of the same groups; invariant",
    "collapse_nc3": "Frobenius norm of W/‖W‖ − M/‖M‖, where M has the rows μ_c − μ; empty for cosine logits; invariant",
    "collapse_nc4": "share of images whose predicted class is the class of the nearest class mean; invariant",
    "collapse_cov_norm": "standard deviation / mean over images of ‖z‖; invariant",
    "collapse_cov_abs": "standard deviation / mean over images and dimensions of abs(z_j); invariant",
    "collapse_mean_norm": "mean over images of ‖z‖; scales with z",
    "collapse_distance_ratio": "median over images of ‖z − μ_y‖ / min over c ≠ y of ‖z − μ_c‖; invariant",
    "collapse_dimensions_used": "rank of the centred class means μ_c − μ; invariant",
    "collapse_effective_rank": "exp of the entropy of the normalised eigenvalues of Σ_B; invariant",
    "collapse_entropy": (
        "Kozachenko–Leonenko entropy of z at unit root mean square, 20 neighbours, in nats per dimension; 1.42 for a "
        "Gaussian; invariant"
    ),
    "collapse_binarity_mean": (
        "share of a dimension's variance explained by two values, rescaled to 0 for a Gaussian and 1 for two values; "
        "mean over dimensions; invariant"
    ),
    "collapse_binarity_min": "the same quantity, minimum over dimensions; invariant",
    "collapse_vertex_cosine": "mean over classes of cos(μ_c, sign μ_c), 1 at a vertex of a hypercube; invariant",
}
#: Suffix of COLLAPSE_COLUMNS for values on training images without augmentation, instead of test images.
TRAIN_SUFFIX = "_train"
TEST_IMAGE_COLUMNS = {
    "lipschitz_head_bound": (
        "upper bound, over all features h, of ‖∂(o_i − o_j)/∂h‖₂ for the layers after the backbone; empty for cosine "
        "logits; invariant for a penultimate layer"
    ),
    "lipschitz_head_local_max": (
        "largest ‖∂m/∂h‖₂ over test images, where m = o_y − max over j ≠ y of o_j; invariant for a penultimate layer"
    ),
    "lipschitz_head_local_mean": "mean of ‖∂m/∂h‖₂ over test images; invariant for a penultimate layer",
    "margin_gradient_norm_max": (
        "largest ‖∂m/∂x‖₂ over test images, x in [0, 1] pixels; invariant, but grows with the scale of the logits"
    ),
    "margin_gradient_norm_mean": "mean of ‖∂m/∂x‖₂ over test images; invariant, but grows with the scale of the logits",
    "lipschitz_zero_gradient_share": (
        "share of test images at which ∂m/∂x is exactly 0; gradients of the cross-entropy vanish earlier; invariant"
    ),
    "lipschitz_local_radius": (
        "median of m/‖∂m/∂x‖₂ over correctly classified test images, in pixel L2; invariant, also to the scale of the "
        "logits"
    ),
    "nearest_median_distance": (
        "median, over correctly classified images, of the distance to the nearest adversarial image found, in pixel "
        "L2: per image the smallest distance of DDN, FMN, targeted FAB and DeepFool, infinite if none of them fooled "
        "the image; an upper bound; invariant"
    ),
    "nearest_rho": (
        "mean of ‖r‖/‖x‖ in pixels for the smallest perturbation r per image, over the correctly classified images "
        "that were fooled; invariant"
    ),
    "nearest_fooled_share": "share of the correctly classified images that any of these attacks fooled; invariant",
    "deepfool_rho_authors": (
        "mean of DeepFool's ‖r‖/‖x‖ as computed by the authors of the method: in normalised space, over all images, "
        "with pixels outside [0, 1] allowed, and r not shortened; invariant"
    ),
    "deepfool_rho_pixels": (
        "mean of DeepFool's ‖r‖/‖x‖ in pixels, clipped to [0, 1], over the correctly classified images that were "
        "fooled; invariant"
    ),
    "deepfool_rho_boundary": (
        "deepfool_rho_pixels after shortening r to the decision boundary by bisection; the direction of r is still "
        "DeepFool's first-order approximation; invariant"
    ),
    "deepfool_fooled_share": "share of the correctly classified images that DeepFool fooled in pixels; invariant",
    "deepfool_median_distance": (
        "median of ‖r‖₂ of the shortened perturbations over correctly classified images, in pixel L2; infinite for "
        "images that were not fooled; invariant"
    ),
}
TRAINING_COLUMNS = {
    "train_acc": (
        "accuracy on the training images of the collapse_…_train columns, as a fraction, in evaluation mode and "
        "without augmentation; invariant"
    ),
}
#: Columns with a 95 % percentile-bootstrap interval over images, in two columns with the suffixes below.
INTERVAL_COLUMNS = (
    "nearest_median_distance",
    "nearest_rho",
    "deepfool_rho_authors",
    "deepfool_rho_pixels",
    "deepfool_rho_boundary",
    "deepfool_median_distance",
)
INTERVAL_SUFFIXES = {
    "_lo": "lower end of the 95 % bootstrap interval (sampling of images); empty for fewer than 30 images; invariant",
    "_hi": (
        "upper end of the 95 % bootstrap interval; empty for fewer than 30 images, or if it exceeds all distances "
        "found; invariant"
    ),
}
COUNT_COLUMNS = {
    "collapse_n": "number of test images of the collapse_ columns",
    "collapse_n_train": "number of training images of the collapse_…_train columns",
    "lipschitz_n": "number of test images of the lipschitz_ columns",
    "deepfool_n": "number of test images of deepfool_rho_authors",
    "deepfool_n_correct": "number of these images that are correctly classified",
    "deepfool_n_fooled": (
        "number of the correctly classified images that DeepFool fooled: the images of deepfool_rho_pixels and "
        "deepfool_rho_boundary"
    ),
    "nearest_n_fooled": (
        "number of the correctly classified images that at least one of the four attacks fooled: the images of "
        "nearest_rho"
    ),
    "nearest_n_unknown": (
        "number of the correctly classified images omitted from the nearest_ columns: none of the four attacks fooled "
        "them, and the model returned NaN or infinite logits close to them"
    ),
}
DIAGNOSTIC_COLUMNS = {
    **COLLAPSE_COLUMNS,
    **{f"{name}{TRAIN_SUFFIX}": f"{meaning}; on training images" for name, meaning in COLLAPSE_COLUMNS.items()},
    **TEST_IMAGE_COLUMNS,
    **TRAINING_COLUMNS,
    **{name + suffix: f"{name}: {text}" for name in INTERVAL_COLUMNS for suffix, text in INTERVAL_SUFFIXES.items()},
    **COUNT_COLUMNS,
}
