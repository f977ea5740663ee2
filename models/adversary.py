"""Adversarial examples for adversarial training:  min_θ E max_{‖δ‖≤ε} L(f_θ(x + δ), y).

The inner maximum is approximated by projected gradient ascent from a random start (Madry et al. 2018, arXiv
1706.06083):

    x₀ = Π(x + r·ε·u);    x_{t+1} = Π(x_t + a·ε·d(∂L(f(x_t), y)/∂x_t)).

Π is the projection onto the ball around x, then onto the box [0, 1]. a is the ``step_size`` and r the ``start`` of
AdversarySpec. u and d depend on the norm:

- linf: u is uniform on [−1, 1]^D, and d is the sign. The defaults are ten steps of ε/4, as in the authors' code for
  CIFAR-10.
- l2: u is uniform in the unit ball, and d(g) = g/‖g‖₂.

With ``projected=False``, Π is the projection onto the box only. N-FGSM (de Jorge et al. 2022, arXiv 2202.01181) is one
such step of ε from a start on [−2ε, 2ε]^D: the perturbation may have up to three times the budget.

The network is attacked in evaluation mode. Both modes are common. The code of Madry et al. attacks in training mode,
which uses batch statistics and updates the running statistics, as does the code of N-FGSM. The authors' later library
(robustness), TRADES and MART attack in evaluation mode. Pang et al. 2021 (arXiv 2010.00467) found that evaluation mode
gives comparable robustness and a higher clean accuracy. Evaluation mode is used here because the final evaluation uses
it, and because dropout is off. Also, the perturbation of an image does not depend on the other images of its batch, and
the running statistics are computed only from the images of the training steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec
from bench.models.image_random import ImageRandom

Loss = Callable[[Tensor], Tensor]  # images (N, C, H, W) to a scalar, the mean over the images
PURPOSE = "adversary"  # of the random numbers


class Adversary:
    """Perturb the training images before each step. Without a spec, images are returned unchanged.

    Raises BenchError for a spec without a budget. The budget is set when the data set is known.
    """

    def __init__(self, spec: AdversarySpec | None) -> None:
        if spec is not None and spec.eps is None:
            raise BenchError("an adversary needs a budget; set its eps, in units of [0, 1] pixels.")
        self._spec = spec

    def perturb(
        self, model: nn.Module, loss: Loss, inputs: Tensor, *, random: ImageRandom, start: Tensor | None = None
    ) -> Tensor:
        """Return ``inputs`` (N, C, H, W), perturbed to increase ``loss``, which calls ``model``.

        Mode, parameters and buffers of ``model`` are not changed. ``random`` draws the start, unless ``start`` is
        given, a perturbation (N, C, H, W).
        """
        if self._spec is None:
            return inputs
        start = random_start(inputs, self._spec, random) if start is None else start
        with evaluating(model):
            return ascend(loss, inputs, self._spec, start=start)


def random_start(inputs: Tensor, spec: AdversarySpec, random: ImageRandom) -> Tensor:
    """Draw the start of the search, a perturbation (N, C, H, W), uniformly from the ball of radius r·ε.

    A uniform point of the D-dimensional L2 ball is given by the first D coordinates of a uniform point of the sphere in
    D + 2 dimensions (Voelker, Gosmann and Stewart 2017).
    """
    radius = (spec.eps or 0.0) * spec.start
    shape = inputs.shape[1:]
    if spec.norm == "linf":
        return radius * (2 * random.uniform(PURPOSE, *shape) - 1)
    sphere = torch.nn.functional.normalize(random.normal(PURPOSE, shape.numel() + 2))
    start: Tensor = radius * sphere[:, : shape.numel()].reshape(inputs.shape)
    return start


def ascend(loss: Loss, inputs: Tensor, spec: AdversarySpec, *, start: Tensor) -> Tensor:
    """Run projected gradient ascent and return the last of ``spec.steps`` iterates, (N, C, H, W), detached.

    ``start`` is the first perturbation, (N, C, H, W). Pixels of ``inputs`` that are already outside [0, 1], for example
    by added noise, are not moved further out. Pixels whose gradient is exactly 0 or NaN are not moved; with l2, this
    applies to the gradient of the whole image. The training step itself detects a NaN loss. Parameters get no gradient.
    """
    clean = inputs.detach()
    images = _project(clean + start, clean, spec)
    for _ in range(spec.steps):
        leaf = images.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)  # .backward() would leave gradients in the parameters
        images = _project(leaf.detach() + spec.step_size * (spec.eps or 0.0) * _direction(gradient, spec), clean, spec)
    return images


def _direction(gradient: Tensor, spec: AdversarySpec) -> Tensor:
    """Return the step of length 1 along which a linear loss grows fastest; 0 for a gradient of 0 or NaN."""
    if spec.norm == "linf":
        return gradient.sign()
    flat = gradient.flatten(1)
    scaled: Tensor = flat / flat.abs().amax(1, keepdim=True)  # the square of a small gradient would be rounded to 0
    unit: Tensor = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    direction: Tensor = unit.nan_to_num(nan=0.0).view_as(gradient)
    return direction


def _project(images: Tensor, clean: Tensor, spec: AdversarySpec) -> Tensor:
    """Project onto the ball around ``clean``, then onto the box. Both contain ``clean``, which may be outside [0, 1].

    With l2, the result is in the intersection, but is not always its point nearest to ``images``.
    """
    low, high, eps = clean.clamp(max=0.0), clean.clamp(min=1.0), spec.eps or 0.0
    if spec.projected and spec.norm == "linf":
        low, high = torch.maximum(clean - eps, low), torch.minimum(clean + eps, high)
    elif spec.projected:
        delta = images - clean
        length = torch.linalg.vector_norm(delta.flatten(1), dim=1).view(-1, *[1] * (delta.ndim - 1))
        images = clean + delta * (eps / length.clamp_min(1e-30)).clamp(max=1.0)
    return images.clamp(low, high)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
