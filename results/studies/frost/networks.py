"""Train the two small networks of the study on 40,000 CIFAR-10 images, in a few minutes each on one core.

    python results/studies/frost/networks.py DATA FOLDER [NAME ...]

DATA contains train/<class>/<file>. The weights are saved as <name>.pt in FOLDER. The texture was fitted to statistics
of the photographs. Only its contrast was chosen with both networks, on 900 test images of every class.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

CLASSES, TRAINING_IMAGES, BATCH, PAD = 10, 40_000, 128, 4
MEAN, STD = 0.473, 0.251


class Block(nn.Module):
    """Two convolutions plus an identity that is subsampled and padded with zeros (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outer), nn.BatchNorm2d(outer)])
        self.stride, self.more = stride, outer - inner

    def forward(self, x: Tensor) -> Tensor:
        """Return the features after the block."""
        y = self.norms[1](self.second(functional.relu(self.norms[0](self.first(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(y + shortcut)


def resnet20() -> nn.Module:
    """Build a ResNet-20 (He et al. 2015, arXiv 1512.03385) for 32-pixel images."""
    blocks, width = [], 16
    for outer, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            blocks.append(Block(width, outer, stride if i == 0 else 1))
            width = outer
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def convnet() -> nn.Module:
    """Build a network of four plain convolutions with pooling, without shortcuts."""
    layers: list[nn.Module] = []
    for inner, outer in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [nn.Conv2d(inner, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4, CLASSES))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet20": (resnet20, 3),
    "convnet": (convnet, 4),
}


def read(folder: Path, first: int, last: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return ids, images (N, H, W, 3) uint8 and labels of the files ``first`` to ``last`` of every class."""
    ids, images, labels = [], [], []
    for label, class_folder in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(class_folder.iterdir())[first:last]:
            ids.append(path.relative_to(folder.parent).as_posix())
            images.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    return ids, np.stack(images), np.array(labels)


def inputs(images: np.ndarray | Tensor) -> Tensor:
    """Normalise images, (N, H, W, 3) uint8, to float32 (N, 3, H, W), channels last."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2).float()
    return ((pixels / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def shifted(images: Tensor) -> Tensor:
    """Mirror and shift images by up to four pixels, equally for all images of a batch."""
    side = images.shape[1]
    top, left = (int(torch.randint(0, 2 * PAD + 1, ())) for _ in range(2))
    framed = functional.pad(images, (0, 0, PAD, PAD, PAD, PAD))[:, top : top + side, left : left + side]
    return framed.flip(2) if torch.rand(()) < 0.5 else framed


def train(name: str, images: Tensor, labels: Tensor) -> nn.Module:
    """Train the network ``name`` on images (N, H, W, 3) uint8 and labels (N,), and return it in evaluation mode."""
    torch.manual_seed(0)
    build, epochs = NETWORKS[name]
    network = build().to(memory_format=torch.channels_last)
    steps = epochs * (len(images) // BATCH)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.2, total_steps=steps, pct_start=0.25)
    for epoch in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(inputs(shifted(images[rows])))
            loss = functional.cross_entropy(logits.float(), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"{name}, epoch {epoch + 1} of {epochs}: loss {loss.item():.2f}", flush=True)
    return network.eval()


def main(data: Path, folder: Path, names: list[str]) -> None:
    """Train the networks ``names``, or all, and save their weights in ``folder``."""
    _, images, labels = read(data / "train", 0, TRAINING_IMAGES // CLASSES)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(NETWORKS):
        start = time.monotonic()
        network = train(name, torch.from_numpy(images), torch.from_numpy(labels))
        torch.save(network.state_dict(), folder / f"{name}.pt")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
