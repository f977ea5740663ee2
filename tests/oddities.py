"""Models that are no function from one image to its logits, or have no gradients; and a linear one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.data.tensors import ResidentImages

SIDE = 8


def linear(num_classes: int = 10) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, num_classes)).eval()


class Noisy(nn.Module):
    """Gaussian noise on the logits, in evaluation too."""

    def __init__(self, sigma: float, only: int | None = None) -> None:
        super().__init__()
        self.net, self.sigma, self.only = linear(), sigma, only

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        noise = self.sigma * torch.randn_like(logits)
        if self.only is not None:
            noise[torch.arange(len(noise)) != self.only] = 0
        return logits + noise


class Stepped(nn.Module):
    """Piecewise constant: the image in ``levels`` steps, integers after that. No gradient anywhere."""

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.net, self.levels = linear(), levels

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net((inputs * self.levels).round() / self.levels)
        return (100 * logits).round()


class Detached(Stepped):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach()


class Elsewhere(Stepped):
    """Logits that depend on a parameter and on nothing else, so that they have a gradient, but not to the image."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach() + self.net[1].bias


class Whole(Stepped):
    """The same as whole numbers, int64."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).long()


class DeadFor(nn.Module):
    """Linear, but without gradient on images whose first pixel is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.net = linear()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        return torch.where((inputs[:, 0, 0, 0] > 0.5)[:, None], logits.detach(), logits)


def some(count: int, dead: int = 0) -> ResidentImages:
    pixels = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    pixels[:, 0, 0, 0] = (torch.arange(count) < dead).float()
    return ResidentImages([str(i) for i in range(count)], pixels, torch.arange(count) % 10)


def images(count: int = 24, side: int = 8) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


class Changed(nn.Module):
    """A linear model whose logits go through ``change``."""

    def __init__(self, change: Callable[[Tensor], Tensor], num_classes: int = 10) -> None:
        super().__init__()
        self.net, self.change = linear(num_classes), change

    def forward(self, inputs: Tensor) -> Tensor:
        return self.change(self.net(inputs))
