"""A tiny network with everything that a state dict may hold: convolutions, running statistics and a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGES = torch.linspace(0, 1, 2 * 3 * 6 * 6).view(2, 3, 6, 6)


class TinyNetwork(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.fc = nn.Linear(4, 5)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))


def logits(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(IMAGES)
