"""results.csv, columns of the audit."""

from __future__ import annotations

#: results.csv: figures of the run's audit, in the rows of its attacks. All rows of a norm that was audited at one
#: budget have the figures of that budget.
AUDIT_FIGURES = {
    "audit_acc_suite": "robust accuracy in percent on the audited images under all attacks of the run together",
    "audit_acc_plain": "robust accuracy in percent under the audit's PGD on the plain float32 cross-entropy",
    "audit_acc_rescaled": (
        "robust accuracy in percent under the same PGD on logits divided so that their median gap is 8 nats"
    ),
    "audit_acc_longer": "robust accuracy in percent under PGD on rescaled logits with twice the steps",
    "audit_acc_margin": "robust accuracy in percent under PGD on the margin",
    "audit_acc_large": (
        "robust accuracy in percent under PGD on the margin at the budget that reaches the grey image (linf: 0.5)"
    ),
    "audit_drop_margin": (
        "points by which the accuracy under PGD on the margin is below that under PGD on the rescaled cross-entropy; "
        "raises no flag"
    ),
    "audit_drop_scale_masking": "points by which rescaled logits lower the accuracy under PGD",
    "audit_drop_not_converged": "points by which twice the steps lower the accuracy under PGD",
    "audit_drop_black_box_stronger": (
        "points by which attacks without gradients lower the accuracy below all gradient attacks"
    ),
    "audit_drop_transfer": (
        "points by which adversarial images of the baseline lower the accuracy below all gradient attacks; empty "
        "without a baseline"
    ),
    "audit_drop_large_eps_survivors": (
        "points by which the grey image lowers the accuracy below PGD at the large budget"
    ),
    "audit_drop_stronger_attack": "points by which the audit's attacks lower the accuracy below all attacks of the run",
    "audit_mde": (
        "smallest observed drop in points that raises a flag, if no image is gained; a true drop of this size is "
        "detected in about half of the cases; empty if no drop could have raised a flag"
    ),
    "audit_broken_8bit": (
        "share of the images misclassified under PGD on the margin that stay misclassified after rounding to 8 bits"
    ),
    "audit_n_correct": (
        "number of correctly classified images that the columns from here on are computed on: those among an eighth of "
        "the audited images (a quarter with `--full`), but among at least ten; fewer in the `_perturbed` columns if "
        "audit_n is below that of another norm"
    ),
    "audit_zero_gradient_ce": (
        "share of correctly classified images at which the gradient of the plain float32 cross-entropy is exactly 0"
    ),
    "audit_zero_gradient_margin": (
        "share of correctly classified images at which the gradient of the margin is exactly 0"
    ),
    "audit_zero_gradient_dlr": (
        "share of correctly classified images at which the gradient of the DLR loss is exactly 0"
    ),
    "audit_tiny_gradient_ce": (
        "share of correctly classified images at which every entry of the cross-entropy's gradient is below 10⁻¹²"
    ),
    "audit_softmax_one": (
        "share of correctly classified images whose largest softmax probability is exactly 1 in float32"
    ),
    "audit_zero_gradient_ce_perturbed": "audit_zero_gradient_ce after ten steps of an attack at audit_eps",
    "audit_zero_gradient_margin_perturbed": "audit_zero_gradient_margin after the same steps",
    "audit_softmax_one_perturbed": "audit_softmax_one after the same steps",
    "audit_nonfinite_gradient_ce": (
        "share of correctly classified images with NaN or infinity in the gradient of the cross-entropy"
    ),
    "audit_logit_gap_q10": "gap between the two largest logits in nats, 10 % quantile over correctly classified images",
    "audit_logit_gap_q50": "gap between the two largest logits in nats, median over correctly classified images",
    "audit_logit_gap_q90": "gap between the two largest logits in nats, 90 % quantile over correctly classified images",
    "audit_float64_disagree": "share of correctly classified images that are predicted as another class in float64",
    "audit_deepfool_ratio": (
        "mean length of DeepFool's perturbations, in pixel L2, after shortening each to the boundary that it crosses, "
        "divided by the mean length before; far below 1, DeepFool overestimates the distances"
    ),
    "audit_ddn_within": (
        "share of correctly classified images that DDN fools within DeepFool's median distance: about 0.5 if DeepFool "
        "is as good as DDN"
    ),
}
AUDIT_COLUMNS = {
    "audit": (
        "`passed`, `flagged`, `undecided` if no flag could have been raised (too few images, a norm without an audit, "
        "a cell that is newer or has fewer images than the audit), or `failed` if the audit itself failed; `at chance` "
        "instead of the first three if the run is no better than chance on clean images; in a row without an attack, "
        "the result of the checks of the model alone; empty without an audit on this test split"
    ),
    "audit_flags": (
        "flags that the audit raised, each with its points of robust accuracy and, after `@`, the eps at which they "
        "were measured if it is not the row's; separated by semicolons; of a failed audit, the flags raised before"
    ),
    "audit_level": "`default`, or `full` with more steps, more images and all budgets",
    "audit_eps": "budget that was audited: the one of the norm whose accuracy is nearest to half of the clean accuracy",
    "audit_n": "number of images that were audited",
    "audit_passes": "passes of the whole audit per audited image, forward and backward, over all norms",
    "audit_baseline_run": "run id of the baseline whose adversarial images were tried on this model",
    **AUDIT_FIGURES,
}
