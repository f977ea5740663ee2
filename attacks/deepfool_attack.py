"""DeepFool, Moosavi-Dezfooli et al. 2016 (arXiv 1511.04599), for the L2 norm and many images at once.

With k₀ the class the model itself gives to x, a step replaces every other class's boundary by its tangent plane,

    f_k = logit_k − logit_k₀,   w_k = ∇f_k,   l = argmin_k |f_k|/‖w_k‖₂,   r ← r + (|f_l|/‖w_l‖₂ + extra)·w_l/‖w_l‖₂,

until the model gives another class to Π(x + (1 + overshoot)·r), Π the clip to the box. As in the authors' published
program the overshot point is the one that is tested and linearised: the walk without overshoot only tends towards the
boundary. Π acts at every step, since a single clip at the end takes half of r away where the pixels lie at the walls.

Foolbox's form, which the tests compare with, walks a batch together until all of it is fooled or the steps are over,
and differentiates every candidate at every image of it; here an image leaves when it is fooled.
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
from bench.runtime.torch_state import harness_torch_state

EXTRA = 1e-4  # added to the steps of the attack, in pixels: the least that crosses a boundary near the walls


@dataclass(frozen=True)
class DeepFoolResult:
    """End points of the walks. The caller's own pass decides whether an image is misclassified."""

    adversarial: Tensor  # (N, C, H, W), the type of the inputs
    iterations: Tensor  # (N,), int64, steps that were made
    fooled: Tensor  # (N,), bool: the class changed during the walk


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
    """Walk each of ``inputs``, (N, C, H, W), float32 or float64, inside ``box``, to the nearest other class.

    ``candidates`` counts the classes that are linearised, the predicted one among them: those of the highest logits at
    x. ``extra`` lengthens every step, in the units of the inputs; with a box it should not be 0, since a walk that the
    walls cut short by more than the overshoot only tends towards the boundary. The model must be in evaluation mode.

    An image costs one forward pass, and at each step two forward and ``candidates`` − 1 backward passes; once its class
    has changed it costs nothing more.

    An image stays at the last point it reached, for good, where no candidate has a gradient that is finite and not
    zero, and where a further step would lead to pixels or logits that are not finite. Raises ValueError for inputs of
    another shape or type, for fewer than two candidates and for a model of fewer than two classes, and
    CellFailure("no_gradient") for a model that gives none.
    """
    if inputs.ndim != 4 or inputs.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"inputs are {inputs.dtype} {tuple(inputs.shape)}; float32 or float64 (N, C, H, W) is needed.")
    inputs = inputs.detach().clone()
    logits = _logits(model, inputs)
    if min(candidates, logits.shape[1]) < 2:
        raise ValueError(f"candidates={candidates} of {logits.shape[1]} classes; at least two of both are needed.")
    # Stable, so that among equal logits the first class is k₀, as it is for argmax.
    classes = logits.argsort(dim=1, descending=True, stable=True)[:, :candidates]
    adversarial, total = inputs.clone(), torch.zeros_like(inputs)
    iterations = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    active = torch.arange(len(inputs), device=inputs.device)
    fooled = torch.zeros_like(active, dtype=torch.bool)
    for _ in range(steps):
        step = _step(model, adversarial[active], classes[active], extra)
        moving = step.flatten(1).any(1)
        active, step = active[moving], step[moving]
        if not len(active):
            break
        walked = total[active] + step
        points = inputs[active] + (1 + overshoot) * walked
        if box is not None:
            points = points.clamp(*box)
        logits = _logits(model, points)
        sound = logits.isfinite().all(1) & points.flatten(1).isfinite().all(1)
        kept = active[sound]
        total[kept], adversarial[kept] = walked[sound], points[sound]
        iterations[kept] += 1
        same = logits.argmax(1) == classes[active, 0]
        fooled[active[sound & ~same]] = True
        active = active[sound & same]
        if not len(active):
            break
    return DeepFoolResult(adversarial, iterations, fooled)


class _Checked(nn.Module):
    """Does not go on where the model has no answer; the walk alone would stop there and call the image unbroken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
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

    Each step goes to the nearest tangent plane, r ← r + |f_l|/‖∇f_l‖₂²·∇f_l, until the class that the model gives to
    the clean image changes. There is no targeted form.

    Args:
        model: Maps images to logits (N, K). Its mode and its weights stay as they are.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), whole numbers in 0…K−1; the walk itself starts from the predicted class.
        norm: "l2".
        eps: Longest perturbation to return, in units of [0, 1] pixels; None returns those of any length.
        steps: Steps of the walk.
        candidates: Classes that are linearised, the predicted one among them.
        rng: Unused, as are ``ids``: nothing is random.
        ids: See ``rng``.
        batch_size: Images per batch; by default all at once.

    Returns:
        Images (N, C, H, W) in [0, 1]: the end of each walk, or the clean image where that lies beyond ``eps`` or,
        without ``eps``, where the class did not change.

    Raises:
        BenchError: If an argument does not fit.

    A linear model has its boundary at the distance margin/‖w‖₂, which the walk exceeds by 2 %:

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₂ = √6
    >>> round(float((deepfool(model, x, torch.tensor([1])) - x).norm()), 2)
    0.42
    """
    if candidates < 2:
        raise BenchError(f"deepfool: candidates is {candidates}; it must be 2 or more, the predicted class among them.")
    with attack_call(
        "deepfool", model, inputs, labels, norm=norm, norms=("l2",), eps=eps, rng=rng, ids=ids, batch_size=batch_size,
        counts={"steps": steps},
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        checked, found = _Checked(model), []
        for part in call.samples.inputs.split(call.batch_size):
            walk = walk_to_boundary(checked, part, steps=steps, candidates=candidates, extra=EXTRA)
            near = walk.fooled if eps is None else length((walk.adversarial - part).double(), norm) <= eps
            found.append(torch.where(near.view(-1, 1, 1, 1), walk.adversarial, part))
        return torch.cat(found)


def _logits(model: nn.Module, points: Tensor) -> Tensor:
    with torch.no_grad():
        return take_logits(model(points.clone()), points)[0]


def _step(model: nn.Module, points: Tensor, classes: Tensor, extra: float) -> Tensor:
    """The way from each of ``points``, (A, C, H, W), to its nearest plane, (A, C, H, W); 0 where there is none.

    ``classes``, (A, candidates), begins with k₀. One graph serves all candidates, and only the nearest gradient is kept
    beside the current one: memory does not grow with their number. Lengths are float64, because the square of a small
    float32 gradient is 0.
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        logits, _ = take_logits(model(points.clone()), points)
    with torch.enable_grad():  # again: the model may have switched gradients off
        gaps = (logits.gather(1, classes[:, 1:]) - logits.gather(1, classes[:, :1])).unbind(1)
    # A plane further away than the type can count is no plane. Neither is one at NaN, which is nearer than nothing.
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
