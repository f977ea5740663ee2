"""DeepFool, Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), for the L2 norm and batches of images.

Let k₀ be the class that the model predicts for x. A step replaces the boundary of every other class by its tangent
plane,

    f_k = logit_k − logit_k₀,   w_k = ∇f_k,   l = argmin_k |f_k|/‖w_k‖₂,   r ← r + (|f_l|/‖w_l‖₂ + extra)·w_l/‖w_l‖₂,

until the model predicts another class for Π(x + (1 + overshoot)·r), with Π the clip to the box. As in the authors'
program, this point is tested and linearised. Without overshoot, the points converge to the boundary but do not cross
it. Π acts at every step, since a single clip at the end removes half of r if the pixels lie at the bounds.

The tests compare with foolbox, which runs a batch until all its images are misclassified or the steps are used up, and
differentiates every candidate class for all images. Here, an image leaves the batch when it is misclassified.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.geometry.norms import length
from bench.attacks.gradients import gradient_of, logits_at, take_logits
from bench.core.errors import BenchError
from bench.core.specs import Norm
from bench.runtime.interrupt import check_stop
from bench.runtime.torch_state import harness_torch_state

EXTRA = 1e-4  # added to each step, in units of [0, 1] pixels: enough to cross a boundary where pixels are clipped


@dataclass(frozen=True)
class DeepFoolResult:
    """End points of DeepFool. The caller must verify that an image is misclassified."""

    adversarial: Tensor  # (N, C, H, W), the type of the inputs
    iterations: Tensor  # (N,), int64, number of steps
    fooled: Tensor  # (N,), bool: the predicted class changed


@harness_torch_state()
def walk_to_boundary(
    model: nn.Module,
    inputs: Tensor,
    *,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    extra: float = 0.0,
    box: tuple[float, float] | None = (0.0, 1.0),
) -> DeepFoolResult:
    """Move each of ``inputs``, (N, C, H, W), float32 or float64, inside ``box``, to the boundary of the nearest class.

    ``candidates`` is the number of linearised classes, including the predicted class. These are the classes with the
    highest logits at x. ``extra`` lengthens every step, in the units of the inputs. With a box it should be positive:
    if the clip shortens a step by more than the overshoot, the points converge to the boundary without crossing it. The
    model must be in evaluation mode.

    An image costs one forward pass, and at each step two forward and ``candidates`` − 1 backward passes. It costs no
    further passes after its class has changed.

    An image stays at its last point if no candidate has a finite, non-zero gradient, or if the next point or its logits
    are not finite. Raises ValueError for inputs of another shape or type, for fewer than two candidates and for a model
    with fewer than two classes. Raises CellFailure("no_gradient") for a model without gradients.
    """
    if inputs.ndim != 4 or inputs.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"inputs are {inputs.dtype} {tuple(inputs.shape)}; float32 or float64 (N, C, H, W) is needed.")
    inputs = inputs.detach().clone()
    logits = _logits(model, inputs)
    if min(candidates, logits.shape[1]) < 2:
        raise ValueError(f"candidates={candidates} of {logits.shape[1]} classes; at least two of both are needed.")
    # The sort is stable, so that among equal logits the first class is k₀, as for argmax.
    classes = logits.argsort(dim=1, descending=True, stable=True)[:, :candidates]
    adversarial, total = inputs.clone(), torch.zeros_like(inputs)
    iterations = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    active = torch.arange(len(inputs), device=inputs.device)
    fooled = torch.zeros_like(active, dtype=torch.bool)
    for _ in range(steps):
        check_stop()
        step = _step(model, adversarial[active], classes[active], extra)
        moving = step.flatten(1).any(1)
        active, step = active[moving], step[moving]
        if not len(active):
            break
        next_total = total[active] + step
        points = inputs[active] + (1 + overshoot) * next_total
        if box is not None:
            points = points.clamp(*box)
        logits = _logits(model, points)
        finite = logits.isfinite().all(1) & points.flatten(1).isfinite().all(1)
        finite_active = active[finite]
        total[finite_active], adversarial[finite_active] = next_total[finite], points[finite]
        iterations[finite_active] += 1
        same = logits.argmax(1) == classes[active, 0]
        fooled[active[finite & ~same]] = True
        active = active[finite & same]
        if not len(active):
            break
    return DeepFoolResult(adversarial, iterations, fooled)


class _Checked(nn.Module):
    """Model that raises CellFailure("nan_logits") for NaN or infinite logits.

    Without this check, the search would stop at such a point and report the image as not adversarial.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
        """Return the logits of ``points``, (B, K)."""
        return logits_at(self.model, points)


def deepfool(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    eps: float | None = None,
    steps: int = 50,
    candidates: int = 10,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Find the nearest boundary in L2 by DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599). Deterministic.

    Each step goes to the nearest tangent plane, r ← r + |f_l|/‖∇f_l‖₂²·∇f_l, until the predicted class differs from
    the predicted class of the clean image. The attack cannot be targeted.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1. The search itself uses the predicted classes instead.
        norm: "l2".
        eps: Maximum length of a returned perturbation, in units of [0, 1] pixels. None returns any length.
        steps: Maximum number of steps.
        candidates: Number of linearised classes, including the predicted class; 2 or more.
        rng: Unused. The attack is deterministic.
        ids: Unused.
        batch_size: Images per batch. By default, all images are in one batch.

    Returns:
        Images (N, C, H, W) in [0, 1]: the last point, or the clean image if the last point lies beyond ``eps``. Without
        ``eps``, the clean image if the predicted class did not change.

    Raises:
        BenchError: If an argument is invalid.

    For a linear model the distance to the decision boundary is margin/‖w‖₂, which DeepFool exceeds by 2 %:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₂ = √6
    >>> round(float((deepfool(model, x, torch.tensor([1])) - x).norm()), 2)
    0.42
    """
    if candidates < 2:
        raise BenchError(f"deepfool: candidates is {candidates}; it must be 2 or more, the predicted class included.")
    with attack_call(
        "deepfool", model, inputs, labels, norm=norm, norms=("l2",), eps=eps, rng=rng, ids=ids, batch_size=batch_size,
        counts={"steps": steps},
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        checked, adversarials = _Checked(model), []
        for part in call.samples.inputs.split(call.batch_size):
            walk = walk_to_boundary(checked, part, steps=steps, candidates=candidates, extra=EXTRA)
            returned = walk.fooled if eps is None else length((walk.adversarial - part).double(), norm) <= eps
            adversarials.append(torch.where(returned.view(-1, 1, 1, 1), walk.adversarial, part))
        return torch.cat(adversarials)


def _logits(model: nn.Module, points: Tensor) -> Tensor:
    with torch.no_grad():
        return take_logits(model(points.clone()), points)[0]


def _step(model: nn.Module, points: Tensor, classes: Tensor, extra: float) -> Tensor:
    """Return the step from each of ``points``, (A, C, H, W), to its nearest plane, (A, C, H, W); 0 without a plane.

    ``classes``, (A, candidates), begins with k₀. All candidates share one graph, and only two gradients are in memory
    at a time: the current gradient and the gradient of the nearest plane. Lengths are float64, because the square of a
    small float32 gradient is 0.
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        logits, _ = take_logits(model(points.clone()), points)
    with torch.enable_grad():  # again: the model may have switched gradients off
        gaps = (logits.gather(1, classes[:, 1:]) - logits.gather(1, classes[:, :1])).unbind(1)
    # A plane is used only if the type can represent its distance. Comparisons with NaN are false.
    nearest = torch.full((len(points),), torch.finfo(points.dtype).max, dtype=torch.float64, device=points.device)
    direction = torch.zeros_like(points)
    for gap in gaps:
        gradient = gradient_of(gap.sum(), points, keep_graph=True)
        norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
        distance = gap.detach().abs().double() / norm
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        unit = gradient / norm.to(points.dtype).view(-1, 1, 1, 1)
        direction = torch.where(nearer.view(-1, 1, 1, 1), unit, direction)
    length = (nearest + extra).to(points.dtype)
    return length.view(-1, 1, 1, 1) * direction
