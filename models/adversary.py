"""The images that an adversarial training is about:  min_θ E max_{‖δ‖∞≤ε} L(f_θ(x + δ), y).

The inner maximum is searched by projected gradient ascent from a random start (Madry et al. 2018, arXiv 1706.06083):

    x₀ = Π(x + ε·u), u uniform on [−1, 1]^D;    x_{t+1} = Π(x_t + a·ε·sign ∂L(f(x_t), y)/∂x_t),

Π the projection on the ball around x and on the box [0, 1], a the ``step_size`` of AdversarySpec. Its defaults, ten
steps of ε/4, are those of the authors' code for CIFAR-10.

The network is attacked in evaluation mode. Both modes are in use: the paper's own code normalises by the batch and lets
the search move the running statistics; the authors' later library (robustness) and TRADES search in evaluation mode,
which Pang et al. 2021 (arXiv 2010.00467) found to give comparable robustness and a higher clean accuracy. Here it is
evaluation mode: that is the network which will be attacked in the end, an image's perturbation does not depend on its
batch, nothing is dropped, and the running statistics see only the images that are trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec

Loss = Callable[[Tensor], Tensor]  # of images (N, C, H, W), a scalar: the mean over them


class Adversary:
    """Perturbation of the training images before each step; without a spec the images stay as they are.

    Raises BenchError for a spec without a budget: a spec has none before a data set is named.
    """

    def __init__(self, spec: AdversarySpec | None) -> None:
        if spec is not None and spec.eps is None:
            raise BenchError("an adversary needs a budget; give its eps, in units of [0, 1] pixels.")
        self._spec = spec

    def perturb(self, model: nn.Module, loss: Loss, inputs: Tensor, *, generator: torch.Generator) -> Tensor:
        """``inputs`` (N, C, H, W) moved towards a higher ``loss``, which runs ``model``; the model stays as it was."""
        if self._spec is None:
            return inputs
        with _evaluating(model):
            return ascend(loss, inputs, self._spec, generator=generator)


def ascend(loss: Loss, inputs: Tensor, spec: AdversarySpec, *, generator: torch.Generator) -> Tensor:
    """The last of ``spec.steps`` iterates, (N, C, H, W), without a graph; parameters get no gradient.

    The start is drawn from ``generator`` on the CPU, where every machine draws alike. A pixel of ``inputs`` that is
    already outside [0, 1], as noise may put it, goes no further out. A derivative that is exactly 0 or NaN moves
    nothing; of NaN the step's own loss will tell.
    """
    clean, eps = inputs.detach(), spec.eps or 0.0
    low = torch.maximum(clean - eps, clean.clamp(max=0.0))
    high = torch.minimum(clean + eps, clean.clamp(min=1.0))
    start = 2 * torch.rand(clean.shape, generator=generator) - 1
    images = (clean + eps * start.to(clean)).clamp(low, high)
    for _ in range(spec.steps):
        leaf = images.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)  # .backward() would leave gradients in the parameters
        images = (leaf.detach() + spec.step_size * eps * gradient.sign()).clamp(low, high)
    return images


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
