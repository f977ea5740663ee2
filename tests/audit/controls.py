"""Networks of which it is known whether their robustness can be believed: trained here, in seconds, from a seed.

The honest ones an audit must leave alone: an ordinary network, one trained five times longer, one trained on
adversarial images. The others hide their gradients, each by one of the ways of the literature, and are no more robust
than the first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.data import DataRequest, load_dataset
from bench.data.tensors import load_images

CPU = torch.device("cpu")
Loss = Callable[[Tensor, Tensor], Tensor]
EPS = 0.1  # of the adversarial training, and of the audits


class Cnn(nn.Module):
    """Two convolutions and two linear layers, on digits of 8 px."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs)
        return logits


class Scaled(nn.Module):
    """Logits times a constant: the same classes."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return self.factor * logits


class Quantised(nn.Module):
    """Pixels rounded to a few levels: the same classes nearly everywhere, and a gradient of zero."""

    def __init__(self, model: nn.Module, levels: int = 5) -> None:
        super().__init__()
        self.model, self.steps = model, levels - 1

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model((inputs * self.steps).round() / self.steps)
        return logits


class Resized(nn.Module):
    """Scaled down by a random factor and put at a random place (Xie et al. 2018, arXiv 1711.01991)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self._one(image[None]) for image in inputs])

    def _one(self, inputs: Tensor) -> Tensor:
        side = inputs.shape[-1]
        small = side - int(torch.randint(0, 2, ()))
        left, top = (int(torch.randint(0, side - small + 1, ())) for _ in range(2))
        shrunk = functional.interpolate(inputs, size=(small, small))
        padded = functional.pad(shrunk, (left, side - small - left, top, side - small - top))
        logits: Tensor = self.model(padded)
        return logits


class SaturatingSigmoid(nn.Module):
    """σ(gain·h), flat in float32 nearly everywhere once the gain is high."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = 1.0

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.gain * features)


def saturated(seed: int, gain: float = 1e4) -> nn.Module:
    """Trained with sigmoids, and tested with steps in their place."""
    net = trained(seed, wrap=_with_sigmoids)
    net.layers[6].gain = gain
    return net


def _with_sigmoids(net: nn.Module) -> nn.Module:
    net.layers[6] = SaturatingSigmoid()
    return net


@functools.cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 8, 8) in [0, 1] and labels (N,)."""
    data = load_dataset("digits", DataRequest())
    images = load_images(data.train if split == "train" else data.test, None, dataset="digits")
    return images.inputs(torch.arange(len(images)), CPU), images.labels


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels)


def smoothed(share: float) -> Loss:
    return lambda logits, labels: functional.cross_entropy(logits, labels, label_smoothing=share)


def at_temperature(temperature: float) -> Loss:
    """Return the cross-entropy at ``temperature``, the training loss of defensive distillation.

    The temperature is left out after the training. Source: Papernot et al. 2016, arXiv 1511.04508.
    """
    return lambda logits, labels: functional.cross_entropy(logits / temperature, labels)


def trained(
    seed: int,
    *,
    epochs: int = 30,
    loss: Loss = cross_entropy,
    eps: float = 0.0,
    model: nn.Module | None = None,
    lr: float = 2e-3,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> nn.Module:
    """A network after ``epochs`` on the training digits; with ``eps`` on images that seven steps have perturbed."""
    torch.manual_seed(seed)
    net = wrap(Cnn() if model is None else model)
    images, labels = digits("train")
    optimiser = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(128):
            inputs = perturbed(net, images[part], labels[part], eps) if eps else images[part]
            optimiser.zero_grad()
            loss(net(inputs), labels[part]).backward()
            optimiser.step()
        schedule.step()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net.eval()


def perturbed(net: nn.Module, inputs: Tensor, labels: Tensor, eps: float, steps: int = 7) -> Tensor:
    points = (inputs + eps * (2 * torch.rand_like(inputs) - 1)).clamp(0, 1)
    for _ in range(steps):
        points = points.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net(points), labels), points)
        points = (points.detach() + eps / 3 * gradient.sign()).clamp(inputs - eps, inputs + eps).clamp(0, 1)
    return points.detach()


@functools.cache
def ordinary(seed: int) -> nn.Module:
    """The ordinary network. It is shared: nothing may change it."""
    return trained(seed)


@functools.cache
def briefly_trained() -> nn.Module:
    """The ordinary network after three epochs. It is shared: nothing may change it."""
    return trained(0, epochs=3)


@functools.cache
def mlp(seed: int) -> nn.Module:
    """A network of another architecture. It is shared: nothing may change it."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    return trained(seed, model=layers)


HONEST: dict[str, Callable[[int], nn.Module]] = {
    "ordinary": ordinary,
    "another architecture": mlp,
    "five times longer": lambda seed: trained(seed, epochs=150),
    "adversarially trained": lambda seed: trained(seed, eps=EPS, epochs=20),
}

#: By name: the network, and the flag that it must raise.
MASKED: dict[str, tuple[Callable[[int], nn.Module], str]] = {
    "logits × 1000": (lambda seed: Scaled(ordinary(seed), 1000.0), "scale_masking"),
    "distilled": (lambda seed: trained(seed, loss=at_temperature(40.0), epochs=60), "scale_masking"),
    "quantised": (lambda seed: Quantised(ordinary(seed)), "large_eps_survivors"),
    "resized": (lambda seed: trained(seed, wrap=Resized, epochs=10), "randomised"),
    "saturated": (saturated, "large_eps_survivors"),
    "smoothed": (lambda seed: trained(seed, loss=smoothed(0.8), epochs=60), "stronger_attack"),
}
