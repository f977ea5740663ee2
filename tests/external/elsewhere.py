"""Small networks as if trained elsewhere: random ReLU features and a ridge regression in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from bench.core.specs import Preprocessing
from bench.data import DataRequest, Dataset, load_dataset
from bench.data.tensors import load_images
from bench.external.preprocessing import parse_normalization
from bench.external.probe import PROBE_IMAGES


class RandomFeatures(nn.Module):
    """Logits = ridge regression of one-hot labels on ReLU(Wx + b) with random W and b; sees images as fed."""

    def __init__(self, fed: Tensor, labels: Tensor, *, seed: int, width: int = 200, classes: int = 10) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = fed[0].numel()
        scale = fed.std() * size**0.5
        self.weight = nn.Parameter(torch.randn(size, width, generator=generator) / scale)
        self.bias = nn.Parameter(torch.randn(width, generator=generator) / 2)
        features = self.features(fed).double()
        targets = torch.eye(classes, dtype=torch.float64)[labels]
        gram = features.T @ features + torch.eye(width + 1)
        self.head = nn.Parameter(torch.linalg.solve(gram, features.T @ (targets - 1 / classes)).float())

    def features(self, fed: Tensor) -> Tensor:
        hidden = torch.relu(fed.flatten(1) @ self.weight + self.bias)
        return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)

    def forward(self, fed: Tensor) -> Tensor:
        return self.features(fed) @ self.head


class Outputs(nn.Module):
    """Output k of this network is output ``chosen[k]`` of another."""

    def __init__(self, network: nn.Module, chosen: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.chosen = list(chosen)

    def forward(self, fed: Tensor) -> Tensor:
        return self.network(fed)[:, self.chosen]


class Fed(nn.Module):
    """A network behind a function of its images."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.change = change

    def forward(self, fed: Tensor) -> Tensor:
        return self.network(self.change(fed))


@cache
def digits() -> Dataset:
    return load_dataset("digits", DataRequest())


@cache
def images_of(split: str) -> tuple[Tensor, Tensor]:
    """All training images of digits, or those of the probe: (N, 3, 8, 8) in [0, 1] and labels."""
    data = digits()
    found = load_images(getattr(data, split), PROBE_IMAGES if split == "test" else None, dataset="digits")
    return found.inputs(torch.arange(len(found)), torch.device("cpu")), found.labels


def declared(normalization: str, **options: object) -> Preprocessing:
    name, mean, std = parse_normalization(normalization, None, digits())
    return Preprocessing(normalization=name, mean=mean, std=std, **options)  # type: ignore[arg-type]


def normalised(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the logits that a training script elsewhere would compute."""
    if preprocessing.mean is None or preprocessing.std is None:
        return images
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (images - mean) / std


def trained(normalization: str, seed: int = 0, **options: int) -> nn.Module:
    """A network for digits, trained under a normalisation."""
    images, labels = images_of("train")
    return RandomFeatures(normalised(images, declared(normalization)), labels, seed=seed, **options)


@cache
def colours(count: int, seed: int, *, classes: int = 10, side: int = 16) -> tuple[Tensor, Tensor]:
    """Noisy images of coloured blobs, (N, 3, S, S) in [0, 1]; the classes differ in their colours."""
    prototypes = torch.rand(classes, 3, 4, 4, generator=torch.Generator().manual_seed(1234))
    labels = torch.arange(count) % classes
    plain = nn.functional.interpolate(prototypes[labels], size=(side, side), mode="bilinear")
    noise = torch.randn(plain.shape, generator=torch.Generator().manual_seed(seed))
    return (plain + 0.35 * noise).clamp(0, 1), labels
