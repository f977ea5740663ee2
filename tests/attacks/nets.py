"""Three tiny networks trained on digits in about a second each, and the test images they get right."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

TRAINING = 1297


@cache
def digits() -> tuple[Tensor, Tensor]:
    """All images, (1797, 3, 8, 8) in [0, 1] with three equal channels, and labels."""
    pixels, labels = load_digits(return_X_y=True)
    grey = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return grey.expand(-1, 3, -1, -1).contiguous(), torch.tensor(labels)


def _strided() -> nn.Sequential:
    features = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(16 * 16, 10))


def _pooled() -> nn.Sequential:
    features = [nn.Conv2d(3, 12, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2), nn.Conv2d(12, 16, 3), nn.SiLU()]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(16 * 4, 10))


#: By name: how it is built, and by how much the images of its training are perturbed (one signed gradient step).
NETS: dict[str, tuple[Callable[[], nn.Sequential], float]] = {
    "strided": (_strided, 0.0),
    "pooled": (_pooled, 0.0),
    "hardened": (_strided, 0.15),
}


@cache
def trained(name: str, epochs: int = 8) -> nn.Sequential:
    """Frozen, in evaluation mode, float32. The caller must not change it: deepcopy first."""
    build, radius = NETS[name]
    inputs, labels = (part[:TRAINING] for part in digits())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build()
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(epochs):
            for batch in torch.randperm(TRAINING).split(64):
                images = _perturbed(net, inputs[batch], labels[batch], radius) if radius else inputs[batch]
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(images), labels[batch]).backward()
                optimizer.step()
    return net.eval().requires_grad_(False)


def _perturbed(net: nn.Module, inputs: Tensor, labels: Tensor, radius: float) -> Tensor:
    points = (inputs + radius * (2 * torch.rand_like(inputs) - 1)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(points), labels), points)
    return (points.detach() + radius * gradient.sign()).clamp(inputs - radius, inputs + radius).clamp(0, 1)


def correct(net: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` test images that ``net`` gives their label, and the labels."""
    inputs, labels = (part[TRAINING:] for part in digits())
    right = (net(inputs).argmax(1) == labels).nonzero().squeeze(1)[:count]
    return inputs[right], labels[right]
