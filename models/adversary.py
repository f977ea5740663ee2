"""Adversarial examples for adversarial training:  min_θ E max_{‖δ‖∞≤ε} L(f_θ(x + δ), y).

The inner maximum is approximated by projected gradient ascent from a random start (Madry et al. 2018, arXiv
1706.06083):

    x₀ = Π(x + ε·u), u uniform on [−1, 1]^D;    x_{t+1} = Π(x_t + a·ε·sign ∂L(f(x_t), y)/∂x_t),

where Π is the projection onto the ball around x and the box [0, 1], and a is the ``step_size`` of AdversarySpec. The
defaults are ten steps of ε/4, as in the authors' code for CIFAR-10.

The network is attacked in evaluation mode. Both modes are common. The code of the paper attacks in training mode, which
uses batch statistics and updates the running statistics. The authors' later library (robustness) and TRADES attack in
evaluation mode. Pang et al. 2021 (arXiv 2010.00467) found that evaluation mode gives comparable robustness and a higher
clean accuracy. Evaluation mode is used here because the final evaluation uses it, and because dropout is off. Also, the
perturbation of an image does not depend on the other images of its batch, and the running statistics are computed only
from the images of the training steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec

Loss = Callable[[Tensor], Tensor]  # images (N, C, H, W) to a scalar, the mean over the images
Uniform = Callable[[Tensor], Tensor]  # images to random numbers in [−1, 1) of the same shape


class Adversary:
    """Perturb the training images before each step. Without a spec, images are returned unchanged.

    Raises BenchError for a spec without a budget. The budget is set when the data set is known.
    """

    def __init__(self, spec: AdversarySpec | None) -> None:
        if spec is not None and spec.eps is None:
            raise BenchError("an adversary needs a budget; set its eps, in units of [0, 1] pixels.")
        self._spec = spec

    def perturb(self, model: nn.Module, loss: Loss, inputs: Tensor, *, uniform: Uniform) -> Tensor:
        """Return ``inputs`` (N, C, H, W), perturbed to increase ``loss``, which calls ``model``.

        Mode, parameters and buffers of ``model`` are not changed. ``uniform`` draws the random start.
        """
        if self._spec is None:
            return inputs
        with _evaluating(model):
            return ascend(loss, inputs, self._spec, uniform=uniform)


def ascend(loss: Loss, inputs: Tensor, spec: AdversarySpec, *, uniform: Uniform) -> Tensor:
    """Run projected gradient ascent and return the last of ``spec.steps`` iterates, (N, C, H, W), detached.

    ``uniform(inputs)`` returns random numbers in [−1, 1) of the shape of ``inputs``. Pixels of ``inputs`` that are
    already outside [0, 1], for example by added noise, are not moved further out. Pixels whose gradient is exactly
    0 or NaN are not moved. The training step itself detects a NaN loss. Parameters get no gradient.
    """
    clean, eps = inputs.detach(), spec.eps or 0.0
    low = torch.maximum(clean - eps, clean.clamp(max=0.0))
    high = torch.minimum(clean + eps, clean.clamp(min=1.0))
    images = (clean + eps * uniform(clean)).clamp(low, high)
    for _ in range(spec.steps):
        leaf = images.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)  # .backward() would leave gradients in the parameters
        images = (leaf.detach() + spec.step_size * eps * gradient.sign()).clamp(low, high)
    return images


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
