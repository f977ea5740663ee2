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

from bench.attacks.gradients import gradient_of, logits_at, take_logits
from bench.attacks.norms import length
from bench.attacks.rng import SampleRng
from bench.core.specs import AttackSpec
from bench.runtime.torch_state import harness_torch_state

EXTRA = 1e-4  # of the attack's steps, in pixels: the least that leads over a boundary near the walls


@dataclass(frozen=True)
class DeepFoolResult:
    """End points of the walks. The caller's own pass decides whether an image is misclassified."""

    adversarial: Tensor  # (N, C, H, W), the type of the inputs
    iterations: Tensor  # (N,), int64, steps that were made


@harness_torch_state()
def deepfool(
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
        active = active[sound & (logits.argmax(1) == classes[active, 0])]
        if not len(active):
            break
    return DeepFoolResult(adversarial, iterations)


class _Checked(nn.Module):
    """Does not go on where the model has no answer; the walk alone would stop there and call the image unbroken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
        return logits_at(self.model, points)


def deepfool_within(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor:
    """The walk as an attack with a budget: its end where that is within ``spec.eps``, elsewhere the clean image.

    ``params`` are ``steps`` and ``candidates``; nothing is random. Shapes as in :class:`bench.attacks.registry.Attack`.
    """
    steps, candidates = int(spec.params["steps"]), int(spec.params["candidates"])
    found = deepfool(_Checked(model), inputs, steps=steps, candidates=candidates, extra=EXTRA).adversarial
    near = length((found - inputs).double(), spec.norm) <= spec.eps
    return torch.where(near.view(-1, 1, 1, 1), found, inputs)


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
