"""Interface of all trained models: images in [0, 1] to logits, with the normalisation as the first layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Compute (x − mean)/std per channel.

    The normalisation is part of the model, so that an attack's ε is always in units of [0, 1] pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (N, C, H, W) in [0, 1]."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """Sequence of normalisation, backbone, head and output layer.

    ``forward`` maps images (N, 3, S, S), float in [0, 1], to logits (N, K); ``features`` to the latents z (N, d), the
    input of the output layer; ``embed`` to the backbone's features h (N, D), the input of the head.
    """

    def __init__(self, normalize: nn.Module, backbone: nn.Module, head: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.head = head
        self.output = output

    def embed(self, images: Tensor) -> Tensor:
        """Return the backbone's features h (N, D) of images (N, 3, S, S) in [0, 1]."""
        features: Tensor = self.backbone(self.normalize(images))
        return features

    def features(self, images: Tensor) -> Tensor:
        """Return the latents z (N, d) of images (N, 3, S, S) in [0, 1]."""
        latents: Tensor = self.head(self.embed(images))
        return latents

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, 3, S, S) in [0, 1]."""
        logits: Tensor = self.output(self.features(images))
        return logits


def freeze(model: nn.Module) -> nn.Module:
    """Set evaluation mode and disable parameter gradients, in place. Attacks need gradients of the images only."""
    return model.eval().requires_grad_(False)
