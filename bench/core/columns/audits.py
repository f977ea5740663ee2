"""results.csv, behind the diagnosis: what an audit finds."""

from __future__ import annotations

#: results.csv, behind the diagnosis: the audit of the run, in the rows of its attacks. Those of a norm that was audited
#: at one budget have the figures of that budget.
AUDIT_FIGURES = {
    "audit_acc_suite": "robust accuracy in percent that all attacks of the run together leave of the audit's images",
    "audit_acc_plain": "the same of the audit's PGD on the plain float32 cross-entropy",
    "audit_acc_rescaled": "the same of that PGD on logits divided so that their median gap is 8 nats",
    "audit_acc_longer": "the same of the latter with twice the steps",
    "audit_acc_margin": "the same of PGD on the margin",
    "audit_acc_large": "the same of PGD on the margin at the budget that reaches the grey image (linf: 0.5)",
    "audit_drop_margin": "points by which PGD on the margin is below PGD on the rescaled cross-entropy; flags nothing",
    "audit_drop_scale_masking": "points of robust accuracy between PGD on plain and on rescaled logits",
    "audit_drop_not_converged": "points between PGD and PGD with twice the steps",
    "audit_drop_black_box_stronger": "points that attacks without gradients take away beyond all attacks by gradients",
    "audit_drop_transfer": "points that images made on the baseline take away beyond them; empty without a baseline",
    "audit_drop_large_eps_survivors": "points that the grey image takes away beyond PGD at the large budget",
    "audit_drop_stronger_attack": "points that the audit takes away beyond the whole suite",
    "audit_mde": (
        "smallest fall in points that flags when it is seen and no image is gained; a true fall of that size is seen "
        "about every other time; empty if none could have flagged"
    ),
    "audit_broken_8bit": "share of what PGD on the margin breaks that is broken after rounding to 8 bits, too",
    "audit_n_correct": (
        "number of right images behind the columns from here on: those of an eighth of the audited images, or of a "
        "quarter with `--full`, and of ten at least; where audit_n is below that of another norm fewer are behind the "
        "perturbed ones"
    ),
    "audit_zero_gradient_ce": "share of right images whose gradient of the plain float32 cross-entropy is exactly 0",
    "audit_zero_gradient_margin": "share of right images whose gradient of the margin is exactly 0",
    "audit_zero_gradient_dlr": "share of right images whose gradient of the DLR loss is exactly 0",
    "audit_tiny_gradient_ce": "share of right images with every entry of that of the cross-entropy below 10⁻¹²",
    "audit_softmax_one": "share of right images whose largest softmax probability is exactly 1 in float32",
    "audit_zero_gradient_ce_perturbed": "the same as audit_zero_gradient_ce after ten steps of an attack at audit_eps",
    "audit_zero_gradient_margin_perturbed": "the same as audit_zero_gradient_margin after these steps",
    "audit_softmax_one_perturbed": "the same as audit_softmax_one after these steps",
    "audit_nonfinite_gradient_ce": "share of right images with NaN or infinity in the gradient of the cross-entropy",
    "audit_logit_gap_q10": "gap between the two largest logits of right images, in nats: a tenth is below it",
    "audit_logit_gap_q50": "the same: half are below it",
    "audit_logit_gap_q90": "the same: nine tenths are below it",
    "audit_float64_disagree": "share of right images that get another class in float64",
    "audit_deepfool_ratio": (
        "mean length of DeepFool's perturbations, in pixel L2, after each was shortened to the boundary it crosses, "
        "over that before; far below 1 DeepFool flatters the model"
    ),
    "audit_ddn_within": (
        "share of right images that DDN breaks within DeepFool's median distance: about 0.5 if DeepFool is as good"
    ),
}
AUDIT_COLUMNS = {
    "audit": (
        "`passed`, `flagged`, `undecided` where no flag could have been raised (too few images, a norm without an "
        "audit, a cell that came later or has fewer images than the audit), or `failed` where the audit itself went "
        "wrong; `at chance` in place of the first three where the run is no better than chance on clean images; in a "
        "row without an attack of the checks of the model alone; empty without an audit on this test split"
    ),
    "audit_flags": (
        "what the audit found, one that failed what was found before, each flag with its points of robust accuracy "
        "and, behind `@`, the eps they were measured at where it is not the row's; separated by semicolons"
    ),
    "audit_level": "`default`, or `full` with more steps and images and at every budget",
    "audit_eps": "budget that was audited: of those of the norm the one whose accuracy is nearest to half of clean",
    "audit_n": "number of images that were audited",
    "audit_passes": "passes an audited image that the whole audit took, both directions and all norms counted",
    "audit_baseline_run": "run id of the baseline on which images were made that this model was shown",
    **AUDIT_FIGURES,
}
