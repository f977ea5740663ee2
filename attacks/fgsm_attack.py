"""The fast gradient sign method, Goodfellow et al. 2015 (arXiv 1412.6572).

x' = clip(x + ε·sign ∇_x CE(f(x), y), 0, 1);  for l2  x' = clip(x + ε·∇/‖∇‖₂, 0, 1).

For l1, x' is the point in ball and box that maximises the linearised loss: the steepest pixels move to the bounds 0 or
1, one after the other, until the length is ε (Croce and Hein 2021, arXiv 2103.01208). Foolbox's FGSM for L1 is another
attack: it steps along ∇/‖∇‖₁, which spends most of ε on the many pixels with a small gradient. Therefore, the reference
backend has no FGSM for l1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import search_model
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.geometry.l1_ball import steepest_in_box
from bench.attacks.geometry.norms import steepest
from bench.attacks.gradients import differentiate
from bench.attacks.objectives import log_odds
from bench.core.specs import Norm


def fgsm(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int | None = None,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by one signed gradient step of length ε (Goodfellow et al. 2015, arXiv 1412.6572). Deterministic.

    x' = clip(x + ε·sign ∇CE(f(x), y), 0, 1); for l2 with ∇/‖∇‖₂. The attack uses the gradient of the log-odds
    of a misclassification. This gradient has the direction of the gradient of the cross-entropy, but does not vanish
    for confident predictions. The targeted attack steps against the gradient for the target.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Length of the step, in units of [0, 1] pixels.
        targets: Target classes (N,), for the targeted attack.
        rng: Unused. The attack is deterministic.
        ids: Unused.
        batch_size: Images per batch. By default, all images are in one batch.
        query_budget: Maximum number of forward passes per image. Never exceeded, since the attack makes one pass.

    Returns:
        The images after the step, (N, C, H, W), in the ball and in [0, 1].

    Raises:
        BenchError: If an argument is invalid.

    For a linear model with two classes, the linf distance to the decision boundary is margin/‖w‖₁. The margin is the
    difference of the logits, and w is the difference of the two weight vectors:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₁ = 4
    >>> [int(model(fgsm(model, x, torch.tensor([1]), eps=eps)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    with attack_call(
        "fgsm", model, inputs, labels, norm=norm, eps=eps, targets=targets, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget,
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        images, classes = call.samples.inputs, call.samples.targets if call.targeted else call.samples.labels
        parts = zip(images.split(call.batch_size), classes.split(call.batch_size), strict=True)
        adversarials = [
            _stepped(search_model(model), *part, norm=norm, eps=-eps if call.targeted else eps) for part in parts
        ]
        if query_budget is not None:
            query_budget.truncated = torch.zeros_like(call.samples.labels, dtype=torch.bool)
        return torch.cat(adversarials)


def _stepped(model: nn.Module, images: Tensor, classes: Tensor, *, norm: Norm, eps: float) -> Tensor:
    """Make a step of ``eps`` along the gradient of the loss of ``classes``, or against it if ``eps`` is negative."""
    gradient = differentiate(model, images, lambda logits: log_odds(logits, classes)).gradient
    if norm == "l1":
        return (images + steepest_in_box(images, gradient if eps > 0 else -gradient, abs(eps))).clamp(0, 1)
    return (images + eps * steepest(gradient, norm)).clamp(0, 1)
