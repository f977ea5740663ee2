"""Objectives that attacks maximise: functions of logits (N, K) and labels (N,), int64, to losses (N,); K ≥ 2.

With z the logits, y the label, t a target class and π the classes in descending order of their logits:

    cross-entropy           softplus(u),  u = log Σ_{j≠y} exp(z_j) − z_y
    margin                  max_{j≠y} z_j − z_y                          (Carlini and Wagner 2017, arXiv 1608.04644)
    targeted margin         z_t − z_y
    DLR                     (max_{j≠y} z_j − z_y) / (z_π1 − z_π3)        (Croce and Hein 2020, arXiv 2003.01690)
    targeted DLR            (z_t − z_y) / (z_π1 − (z_π3 + z_π4)/2)

    plain cross-entropy     −log softmax(z)_y, as libraries compute it

u is the log-odds of a misclassification. The plain cross-entropy saturates, and is included to measure this effect. In
float32, its gradient is zero if u is below about −100 nats, and an attack on it no longer moves. :func:`log_odds`
returns u instead of the cross-entropy. ∇CE = σ(u)·∇u has the direction of ∇u, and softplus keeps the order of u. So an
attack that uses only directions and comparisons of its loss takes the same path with u.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Objective = Literal["ce", "dlr", "margin", "plain-ce", "dlr-targeted", "margin-targeted"]

TINY = 1e-12  # added to the denominator of DLR


def objective(name: Objective, logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the objective called ``name``, (N,).

    Raises ValueError for a targeted objective without ``targets``, (N,) int64.
    """
    match name:
        case "ce":
            return log_odds(logits, labels)
        case "dlr":
            return dlr(logits, labels)
        case "margin":
            return margin(logits, labels)
        case "plain-ce":
            return functional.cross_entropy(logits, labels, reduction="none")
    if targets is None:
        raise ValueError(f"the objective {name!r} needs target classes.")
    targeted = targeted_dlr if name == "dlr-targeted" else targeted_margin
    return targeted(logits, labels, targets)


def targeted_objective(name: Objective, logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the loss to maximise so that ``targets``, (N,) int64, are predicted: (N,).

    For a targeted objective, this is the objective itself. For any other objective, it is the negative objective with
    the target in place of the label.
    """
    if name in ("dlr-targeted", "margin-targeted"):
        return objective(name, logits, labels, targets)
    return -objective(name, logits, targets)


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return u = log Σ_{j≠y} exp(z_j) − z_y, (N,): the log-odds of a misclassification.

    It increases with the cross-entropy, and therefore has the same maxima.
    """
    return _without(logits, labels).logsumexp(1) - _at(logits, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max_{j≠y} z_j − z_y, (N,): positive if the image is misclassified."""
    return _without(logits, labels).max(1).values - _at(logits, labels)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return z_t − z_y, (N,): positive if the logit of the target exceeds the logit of the label."""
    return _at(logits, targets) - _at(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference-of-logits ratio, (N,); needs K ≥ 3."""
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the difference-of-logits ratio towards ``targets``, (N,) int64: (N,); needs K ≥ 4."""
    top = logits.topk(4, dim=1).values
    return targeted_margin(logits, labels, targets) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _without(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.scatter(1, classes[:, None], float("-inf"))
