"""Networks that a plain training script made: a tiny architecture of timm on digits, normalised in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from bench.data import DataRequest, load_dataset
from bench.data.tensors import load_images

ARCHITECTURE = "test_byobnet"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class Plain:
    """The files of two seeds of two ways to train, and the test accuracy that the script itself found."""

    files: dict[tuple[str, int], Path]
    right: dict[tuple[str, int], int]
    n: int


def images_of(split: str) -> tuple[Tensor, Tensor]:
    data = load_dataset("digits", DataRequest())
    images = load_images(getattr(data, split), None, dataset="digits", size=8)
    return images.inputs(torch.arange(len(images)), torch.device("cpu")), images.labels


def trained(seed: int, noise: float, start: nn.Module | None = None) -> nn.Module:
    """Train for four epochs, or from the weights of ``start`` for one."""
    torch.manual_seed(seed)
    network = timm.create_model(ARCHITECTURE, num_classes=10)
    if start is not None:
        network.load_state_dict(start.state_dict())
    inputs, labels = images_of("train")
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(4 if start is None else 1):
        for part in torch.randperm(len(inputs)).split(64):
            noisy = inputs[part] + noise * torch.randn_like(inputs[part])
            loss = nn.functional.cross_entropy(network((noisy - MEAN) / STD), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()
