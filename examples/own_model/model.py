"""The model of a user's project: a classifier of handwritten digits that normalises its own input."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("weights.safetensors")
MEAN, STD = 0.306, 0.377


class Digits(nn.Module):
    """Classifier from images (N, 3, 8, 8) in [0, 1] to logits (N, 10). Normalisation is part of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (N, 10)."""
        grey = images.mean(dim=1, keepdim=True)
        logits: Tensor = self.layers((grey - MEAN) / STD)
        return logits


def load() -> Digits:
    """Load the trained model."""
    model = Digits()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


def train(seed: int, epochs: int = 30, eps: float = 0.1) -> Digits:
    """Train by one-step adversarial training with a random start (Wong, Rice and Kolter 2020, arXiv 2001.03994)."""
    from bench.data import DataRequest, load_dataset
    from bench.data.tensors import load_images

    images = load_images(load_dataset("digits", DataRequest()).train, None, dataset="digits")
    inputs, labels = images.inputs(torch.arange(len(images)), torch.device("cpu")), images.labels
    torch.manual_seed(seed)
    model = Digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            delta = ((2 * torch.rand_like(inputs[batch]) - 1) * eps).requires_grad_()
            nn.functional.cross_entropy(model(inputs[batch] + delta), labels[batch]).backward()
            assert delta.grad is not None
            delta = (delta.detach() + 1.25 * eps * delta.grad.sign()).clamp(-eps, eps)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model((inputs[batch] + delta).clamp(0, 1)), labels[batch]).backward()
            optimizer.step()
    return model.eval()


if __name__ == "__main__":
    from safetensors.torch import save_file

    save_file(train(seed=0).state_dict(), WEIGHTS)
