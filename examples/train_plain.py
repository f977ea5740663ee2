r"""Train a torchvision ResNet-18 on Fashion-MNIST in plain PyTorch, without collapse-bench.

    python examples/train_plain.py --data data --out plain.pth
    python examples/train_plain.py --data data --noise 0.2 --out noise.pth
    bench evaluate plain.pth --model torchvision:resnet18 --normalize 0.2860,0.3530 \
        --dataset fashion_mnist --data-dir data

The script normalises the grey images itself. It prints the test accuracy, which ``bench evaluate`` must reproduce.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

MEAN, STD = 0.2860, 0.3530  # mean and standard deviation of the training pixels


def main() -> None:
    """Train, print the test accuracy and save the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder that contains FashionMNIST/raw")
    parser.add_argument("--out", default="plain.pth")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, default=60000, help="training images")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of noise on training images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    train = datasets.FashionMNIST(args.data, train=True, transform=transform)
    test = datasets.FashionMNIST(args.data, train=False, transform=transform)
    train = torch.utils.data.Subset(train, range(min(args.images, len(train))))

    network = models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=5e-4)
    loader = DataLoader(train, batch_size=128, shuffle=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=args.epochs * len(loader))

    for epoch in range(args.epochs):
        network.train()
        for images, labels in loader:
            noisy = images + args.noise / STD * torch.randn_like(images)
            loss = nn.functional.cross_entropy(network(noisy), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {args.epochs}: loss {loss.item():.3f}", flush=True)

    network.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in DataLoader(test, batch_size=500):
            correct += int((network(images).argmax(1) == labels).sum())
    print(f"test accuracy {correct / len(test):.4f} ({correct} of {len(test)})")
    torch.save({"epoch": args.epochs, "model_state_dict": network.state_dict(), "classes": test.classes}, args.out)


if __name__ == "__main__":
    main()
