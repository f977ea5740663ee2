"""Columns of results.csv for the audit."""

from __future__ import annotations

#: results.csv: figures of the audit of the run, in the rows of its attacks. If a norm was audited at one budget only,
#: all rows of this norm have the figures of this budget.
AUDIT_FIGURES = {
    "audit_acc_suite": "robust accuracy in percent on the audited images under all attacks of the run together",
    "audit_acc_plain": "robust accuracy in percent under the PGD of the audit on the float32 cross-entropy",
    "audit_acc_rescaled": (
        "robust accuracy in percent under the same PGD on logits rescaled to a median gap of 8 nats"
    ),
    "audit_acc_longer": "robust accuracy in percent under PGD on rescaled logits with twice the steps",
    "audit_acc_margin": "robust accuracy in percent under PGD on the margin",
    "audit_acc_large": (
        "robust accuracy in percent under PGD on the margin at a budget that allows every image to become grey (linf: "
        "0.5)"
    ),
    "audit_drop_margin": (
        "accuracy under PGD on the rescaled cross-entropy minus accuracy under PGD on the margin, in points; raises no "
        "flag"
    ),
    "audit_drop_scale_masking": "points by which rescaled logits lower the accuracy under PGD",
    "audit_drop_not_converged": "points by which twice the steps lower the accuracy under PGD",
    "audit_drop_black_box_stronger": (
        "points by which gradient-free attacks lower the accuracy below that under all gradient attacks"
    ),
    "audit_drop_transfer": (
        "points by which adversarial images of the baseline lower the accuracy below that under all gradient attacks; "
        "empty without a baseline"
    ),
    "audit_drop_large_eps_survivors": (
        "points by which the accuracy on the grey image is below that under PGD at the large budget"
    ),
    "audit_drop_stronger_attack": "points by which the attacks of the audit lower the accuracy under all attacks",
    "audit_mde": (
        "smallest observed drop in points that raises a flag if no image changes in the opposite direction; a true "
        "drop of this size is detected in about half of the cases; empty if no drop could have raised a flag"
    ),
    "audit_broken_8bit": (
        "share of the images misclassified under PGD on the margin that stay misclassified after rounding to 8 bits"
    ),
    "audit_n_correct": (
        "number of images of the columns below: the correctly classified images among an eighth of the audited images "
        "(a quarter with `--full`, at least ten images); smaller in the `_perturbed` columns if audit_n is smaller "
        "than for another norm"
    ),
    "audit_zero_gradient_ce": (
        "share of correctly classified images at which the gradient of the float32 cross-entropy is exactly 0"
    ),
    "audit_zero_gradient_margin": (
        "share of correctly classified images at which the gradient of the margin is exactly 0"
    ),
    "audit_zero_gradient_dlr": (
        "share of correctly classified images at which the gradient of the DLR loss is exactly 0"
    ),
    "audit_tiny_gradient_ce": (
        "share of correctly classified images at which every entry of the gradient of the cross-entropy is below 10⁻¹²"
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
    "audit_float64_disagree": "share of correctly classified images whose predicted class differs in float64",
    "audit_deepfool_ratio": (
        "mean L2 norm of DeepFool's perturbations in pixels after shortening them to the decision boundary, divided by "
        "the mean norm before; a value far below 1 means that DeepFool overestimates the distances"
    ),
    "audit_ddn_within": (
        "share of correctly classified images that DDN fools within the median distance of DeepFool; about 0.5 if both "
        "attacks find equally small perturbations"
    ),
}
AUDIT_COLUMNS = {
    "audit": (
        "`passed`, `flagged`, `undecided` if no flag could have been raised (too few images, a norm without an audit, "
        "a cell that is newer than the audit or has fewer images), or `failed` if the audit itself failed or is of an "
        "earlier version, so that its flags are unknown; `at chance` instead of the first three if the run is no "
        "better than chance on clean images; in a row without an attack, "
        "the result of the checks of the model only; empty without an audit on this test split"
    ),
    "audit_flags": (
        "flags raised by the audit, each with its drop in robust accuracy in points and, after `@`, the eps of the "
        "measurement if it differs from the eps of the row; separated by semicolons; for a failed audit, the flags "
        "raised before the failure"
    ),
    "audit_level": "`default`, or `full` with more steps, more images and all budgets",
    "audit_eps": "audited budget: the budget of the norm with the accuracy nearest to half of the clean accuracy",
    "audit_n": "number of images that were audited",
    "audit_passes": "forward and backward passes of the audit per audited image, over all norms",
    "audit_baseline_run": "run id of the baseline whose adversarial images were transferred to this model",
    **AUDIT_FIGURES,
}
