"""A small convolutional network, fitted in closed form, and ways to write and to evaluate it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from bench import api
from bench.data import DataRequest, load_dataset
from bench.data.tensors import load_images

ENSEMBLE = "autoattack-apgd-ce+apgd-t+fab-t+square-i5-s30"
evaluate = partial(
    api.evaluate, name="n", eps=["0.05"], corruptions="none", audit="none", limit=40, attack_limit={ENSEMBLE: 10}
)


@functools.cache
def _fitted() -> nn.Sequential:
    """Random features, and an output layer by least squares on the training images."""
    images = load_images(load_dataset("digits", DataRequest()).train, None, dataset="digits")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
        net = nn.Sequential(*layers).eval().requires_grad_(False)
        net[1].running_mean.uniform_(-0.5, 0.5)
        net[1].running_var.uniform_(0.5, 2)
    x = net[:4](images.inputs(torch.arange(len(images)), torch.device("cpu")))
    y = 10 * torch.eye(10)[images.labels] - 1
    net[4].weight.copy_(torch.linalg.solve(x.T @ x + torch.eye(256), x.T @ y).T)
    net[4].bias.zero_()
    return net.requires_grad_(True)


def network() -> nn.Sequential:
    """The network in evaluation mode: images (N, 3, 8, 8) in [0, 1] to logits (N, 10), about 90 % right on digits."""
    return copy.deepcopy(_fitted())


class Net(nn.Module):
    """The same network, with ``how`` one of the ways to write its forward pass."""

    def __init__(self, how: Callable[[nn.Sequential, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.how = network(), how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.net, x)


def measured(model: nn.Module, attacks: list[str], **options: Any) -> pd.DataFrame:
    """Rows by the attacks' names without ``-q50``: a few queries show as much of them as thousands."""
    rows = evaluate(model, attacks=attacks, attack_limit={}, max_queries=50, **options)
    return rows.assign(attack=rows["attack"].str.removesuffix("-q50")).set_index("attack")
