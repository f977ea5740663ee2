"""Measure vanishing input gradients and saturated logits at given images. Both make gradient attacks fail.

The gradients are taken with respect to the pixels, in float32. With z the logits and y the label, the losses are

    ce        −log softmax(z)_y, as torch.nn.functional.cross_entropy computes it
    margin    z_y − max_{j≠y} z_j
    dlr       (max_{j≠y} z_j − z_y) / (z_π1 − z_π3); for 2 classes its numerator, as in the attack

∇CE = Σ_j (p_j − 1[j = y]) ∇z_j with p = softmax(z). In float32 the factor of the label is 0 if the label's logit is
larger than the others by about 17 nats. The other factors are 0 if it is larger by about 104 nats. An attack on a model
with such large logits does not move (Carlini and Wagner 2017, arXiv 1608.04644). The gradients of margin and DLR do not
vanish with the scale of the logits. If they are 0, there is another cause. One exception: the DLR of an image with
z_y = z_π3 is 1 for any model. This does not occur for correctly classified images. These values are reported and never
raise a flag.

Comparison with the logits of a float64 copy of the model shows the effect of float32 rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.ensemble import lacks_dlr
from bench.attacks.gradients import gradient_of
from bench.attacks.objectives import dlr
from bench.core.errors import CellFailure, ran_out_of_memory
from bench.evaluation.pass_counter import CountingModel
from bench.models.margins import logit_margins


class Doubled(NamedTuple):
    """Logits of a float64 copy of a model, or the reason why they cannot be computed."""

    logits: Tensor | None  # (N, K); None if ``reason`` is given
    reason: str  # clause without full stop; empty if ``logits`` is given
    n_forwards: int  # one per image


def float64_logits(model: nn.Module, inputs: Tensor, batch_size: int) -> Doubled:
    """Return the logits of a float64 copy of ``model``, in evaluation mode, at ``inputs`` (N, C, H, W).

    The copy is discarded. Return a reason instead of logits if the model cannot be copied, cannot run in float64 or
    returns another floating-point type. An out-of-memory error is raised unchanged, so that the caller can reduce the
    batch size.
    """
    counting = CountingModel(nn.Identity())
    try:
        counting.model = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            logits = torch.cat([counting(part.double()).clone() for part in inputs.split(batch_size)])
    except Exception as error:  # an external model may raise anything
        if ran_out_of_memory(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        return Doubled(None, f"the model does not run in float64: {type(error).__name__}: {first}", counting.forwards)
    if logits.is_floating_point() and logits.dtype != torch.float64:
        return Doubled(None, f"the model returns {logits.dtype} in float64", counting.forwards)
    return Doubled(logits, "", counting.forwards)


def relative_differences(first: Tensor, second: Tensor) -> Tensor:
    """Return max_k |a_k − b_k| / max_k max(|a_k|, |b_k|), (N,) float64, of finite logits (N, K); 0 for equal logits."""
    a, b = first.double(), second.double()
    difference, scale = (a - b).abs().amax(1), torch.maximum(a.abs(), b.abs()).amax(1)
    return difference / scale.masked_fill(difference == 0, 1)


LOSSES = ("ce", "margin", "dlr")
TINY = 1e-12  # constant that published L2 attacks add to the gradient norm before a division
QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}

#: All columns, in order. Shares are fractions of the images, in [0, 1]. Gaps are differences of logits.
COLUMNS = {
    **{f"zero_gradient_{loss}": f"share of images whose input gradient of {loss} is exactly 0" for loss in LOSSES},
    **{f"tiny_gradient_{loss}": f"share with all |entries| of ∇{loss} below 1e-12, including 0" for loss in LOSSES},
    **{f"nonfinite_gradient_{loss}": f"share with NaN or infinity in the gradient of {loss}" for loss in LOSSES},
    "softmax_one": "share of images whose largest softmax probability is exactly 1 in float32",
    **{f"logit_gap_{name}": f"{level} quantile of z_π1 − z_π2 over the images" for name, level in QUANTILES.items()},
    "float64_disagree": "share of images whose predicted class changes in float64",
    "float64_difference": "largest difference of a logit in float64, relative to the image's largest logit",
}


class GradientReport(NamedTuple):
    """Values of all ``COLUMNS``, with the number of passes and notes."""

    values: dict[str, float | None]  # value by column; None if ``notes`` gives a reason
    n_forwards: int  # one per image and pass, including the passes in float64
    n_backwards: int
    notes: dict[str, str]  # reason for a missing value, or deviation from the definition, by column


def gradient_report(model: nn.Module, inputs: Tensor, labels: Tensor, *, batch_size: int) -> GradientReport:
    """Compute all ``COLUMNS`` at ``inputs``, float32 (N, C, H, W) in [0, 1], with ``labels`` (N,) int64.

    Both are on the device of ``model``, which is put in evaluation mode. The gradient of a loss that does not depend on
    the image is 0, for example of integer logits. The function runs two forward passes per image, one of them in
    float64, and three backward passes per image if the model is differentiable.
    """
    if not len(inputs):
        return GradientReport(dict.fromkeys(COLUMNS), 0, 0, dict.fromkeys(COLUMNS, "no images were given"))
    model.eval()
    counting = CountingModel(model)
    parts = zip(inputs.split(batch_size), labels.split(batch_size), strict=True)
    logits, shares = _collected([_at_batch(counting, points, truth) for points, truth in parts])
    values: dict[str, float | None] = {name: float(mask.double().mean()) for name, mask in shares.items()}
    values["softmax_one"] = float((logits.softmax(1).amax(1) == 1).double().mean())
    doubled = float64_logits(model, inputs, batch_size)
    gaps, gap_reason = _gaps(logits)
    difference, difference_reason = _float64(logits, doubled.logits, doubled.reason)
    values |= gaps | difference
    notes = {
        **dict.fromkeys(gaps, gap_reason),
        **dict.fromkeys(difference, difference_reason),
        **_replaced(logits.shape[1]),
    }
    notes = {name: note for name, note in notes.items() if note}
    ordered = {name: values[name] for name in COLUMNS}
    return GradientReport(ordered, counting.forwards + doubled.n_forwards, counting.backwards, notes)


def input_gradient(loss: Tensor, points: Tensor, *, keep: bool = False) -> Tensor:
    """Return ∂loss/∂points of a scalar loss, in the shape of ``points``; 0 if the loss does not depend on them.

    With ``keep`` the autograd graph is kept.
    """
    try:
        return gradient_of(loss, points, keep_graph=keep)
    except CellFailure:
        return torch.zeros_like(points)


def loss_functions(num_classes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Return the functions in ``LOSSES`` by name. Each maps logits (N, K) and labels to the sum of the losses."""
    ratio = logit_margins if lacks_dlr("apgd-dlr", num_classes) else dlr
    return {
        "ce": lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="sum"),
        "margin": lambda logits, labels: logit_margins(logits, labels).sum(),
        "dlr": lambda logits, labels: ratio(logits, labels).sum(),
    }


def _at_batch(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits (n, K), float32, and for each column the mask of the counted images, (n,) bool."""
    points = inputs.detach().clone().requires_grad_()
    masks = {}
    with torch.enable_grad():
        logits = model(points).to(torch.float32, copy=True)  # a model may write every output into the same memory
    with torch.enable_grad():  # needed again, because the model may have disabled gradients
        for name, loss in loss_functions(logits.shape[1]).items():
            gradient = input_gradient(loss(logits, labels), points, keep=True).flatten(1)
            masks[f"zero_gradient_{name}"] = (gradient == 0).all(1)
            masks[f"tiny_gradient_{name}"] = (gradient.abs() < TINY).all(1)
            masks[f"nonfinite_gradient_{name}"] = ~gradient.isfinite().all(1)
    return logits.detach(), masks


def _collected(batches: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, dict[str, Tensor]]:
    logits = torch.cat([part for part, _ in batches])
    return logits, {name: torch.cat([masks[name] for _, masks in batches]) for name in batches[0][1]}


def _gaps(logits: Tensor) -> tuple[dict[str, float | None], str]:
    """Return the quantiles of z_π1 − z_π2, or a reason why they are undefined."""
    names = [f"logit_gap_{name}" for name in QUANTILES]
    top = logits.topk(2, 1).values.double()
    gap = top[:, 0] - top[:, 1]
    if reason := _not_finite(gap[:, None]):
        return dict.fromkeys(names), reason
    levels = torch.tensor(list(QUANTILES.values()), dtype=gap.dtype, device=gap.device)
    return dict(zip(names, gap.quantile(levels).tolist(), strict=True)), ""


def _float64(logits: Tensor, doubled: Tensor | None, reason: str) -> tuple[dict[str, float | None], str]:
    if doubled is not None:
        reason = _not_finite(torch.cat([logits.double(), doubled.double()], 1))
    if doubled is None or reason:
        return {"float64_disagree": None, "float64_difference": None}, reason
    disagree = (logits.argmax(1) != doubled.argmax(1)).double().mean()
    return {
        "float64_disagree": float(disagree),
        "float64_difference": float(relative_differences(logits, doubled).max()),
    }, ""


def _not_finite(rows: Tensor) -> str:
    n_nonfinite = int((~rows.isfinite().all(1)).sum())
    return f"the logits of {n_nonfinite} of {len(rows)} images are not finite" if n_nonfinite else ""


def _replaced(num_classes: int) -> dict[str, str]:
    if not lacks_dlr("apgd-dlr", num_classes):
        return {}
    note = f"computed for the margin instead of the DLR, which is undefined for {num_classes} classes"
    return {f"{kind}_gradient_dlr": note for kind in ("zero", "tiny", "nonfinite")}
