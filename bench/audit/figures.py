"""Compute figures of the model that an audit reports. These figures never raise a flag.

The figures describe input gradients, saturated logits, and the overestimation of distances by DeepFool. Gradients are
measured at the clean images and after ten attack steps on the margin. DeepFool finds a perturbation that is large
enough, not the smallest one. If gradients are small, its step goes far beyond the boundary and the distance is too
large. The published results for latent point collapse use such distances. The figures of distances are in pixel L2,
over correctly classified images:

    deepfool_ratio    mean of ‖r‖ after bisection to the boundary, divided by the mean of ‖r‖ as DeepFool returns it
    ddn_within        share of the images on which DDN (Rony et al. 2019, arXiv 1811.09600) succeeds within DeepFool's
                      median distance: about 0.5 if DeepFool is as good
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from bench.attacks.transfer import transfer_images
from bench.audit.gradients import gradient_report
from bench.audit.probes import AuditAttacker
from bench.core.specs import Norm
from bench.diagnostics.deepfool_score import pixel_lengths
from bench.evaluation.pass_counter import CountingModel

#: Suffix of the figures at perturbed images, and the columns of a gradient report that are reported for them.
PERTURBED: Final = "_perturbed"
KEPT: Final = ("zero_gradient_ce", "zero_gradient_margin", "zero_gradient_dlr", "tiny_gradient_ce", "softmax_one")

Figures = dict[str, float | None]


def gradient_figures(attacker: AuditAttacker, correct: Tensor) -> Figures:
    """Measure gradients at the correctly classified images ``correct``, (M,) int64 indices; ``n_correct`` is M."""
    return {"n_correct": float(len(correct)), **_report(attacker, attacker.inputs(correct), attacker.labels(correct))}


def perturbed_figures(attacker: AuditAttacker, correct: Tensor, *, norm: Norm, eps: float, steps: int) -> Figures:
    """Measure gradients at the same images after an attack at one budget.

    Return an empty dictionary without images or gradients.
    """
    if not len(correct) or not attacker.gives_gradient:
        return {}
    counting, parts = CountingModel(attacker.context.model), []
    for part in correct.split(attacker.batch_size):
        inputs, labels = attacker.inputs(part), attacker.labels(part)
        parts.append(transfer_images(counting, inputs, labels, norm=norm, eps=eps, steps=steps))
    attacker.count(counting)
    report = _report(attacker, torch.cat(parts), attacker.labels(correct))
    return {f"{name}{PERTURBED}": report[name] for name in KEPT}


def deepfool_figures(attacker: AuditAttacker, correct: Tensor, *, steps: int) -> Figures:
    """Measure ``deepfool_ratio`` and ``ddn_within`` at the images ``correct``, (M,) int64, all classified correctly.

    ``deepfool_ratio`` is None if DeepFool fools no image. ``ddn_within`` is None if DeepFool fools at most half of the
    images. Return an empty dictionary if the model has no gradient.
    """
    if not attacker.gives_gradient:
        return {}
    counting = CountingModel(attacker.context.model)
    parts = [pixel_lengths(counting, attacker.inputs(part)) for part in correct.split(attacker.batch_size)]
    attacker.count(counting)
    raw, boundary = (np.concatenate([getattr(part, name) for part in parts]) for name in ("raw", "boundary"))
    ratio = float(boundary.mean() / raw.mean()) if len(raw) and raw.mean() > 0 else None
    missed = np.full(len(correct) - len(raw), np.inf)
    median = float(np.median([*raw, *missed])) if len(correct) else np.inf
    if not np.isfinite(median):
        return {"deepfool_ratio": ratio, "ddn_within": None}
    excluded = np.ones(len(attacker.context.images), dtype=bool)
    excluded[correct.numpy()] = False
    misclassified = attacker.attack(f"ddn-{steps}", "l2", median, excluded)
    return {"deepfool_ratio": ratio, "ddn_within": float(misclassified[correct.numpy()].mean())}


def _report(attacker: AuditAttacker, inputs: Tensor, labels: Tensor) -> Figures:
    report = gradient_report(attacker.context.model, inputs, labels, batch_size=attacker.batch_size)
    attacker.forwards += report.n_forwards
    attacker.backwards += report.n_backwards
    return dict(report.values)
