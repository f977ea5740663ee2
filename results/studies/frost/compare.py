"""Compare the accuracy under crops of the photographs of frost and under textures, for the networks of networks.py.

    python results/studies/frost/compare.py IMAGES FOLDER FIRST LAST > results/studies/frost/frost.csv

IMAGES contains <class>/<file>, and FOLDER contains the weights. The files FIRST to LAST of each class are used.
Severity "all" is the mean over the five severities, with Student's interval over the images. For single severities, p
comes from McNemar's exact test.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from networks import NETWORKS, inputs, read
from scipy import fft, stats

from bench.attacks.corruptions.apply import corrupt_bytes
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.photographs import FILES_SHA
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.attacks.corruptions.units import to_bytes
from bench.statistics.paired import compare

BATCH = 500
COLUMNS = ("network", "frost", "severity", "n", "acc_photographs", "acc", "difference", "low", "high", "p")

Frosted = Callable[[np.ndarray, list[str], int], np.ndarray]


def photographs(images: np.ndarray, ids: list[str], severity: int, seed: int = 0) -> np.ndarray:
    """Return the images with frost from the photographs, (N, H, W, C) uint8."""
    return corrupt_bytes(images, ids, "frost", severity, seed=seed, files_sha=FILES_SHA)


def texture(images: np.ndarray, ids: list[str], severity: int) -> np.ndarray:
    """Return the images with frost from the current texture, (N, H, W, C) uint8."""
    return corrupt_bytes(images, ids, "frost", severity, files_sha="")


def texture_v1(images: np.ndarray, ids: list[str], severity: int) -> np.ndarray:
    """Return the images with the texture of version 1, (N, H, W, C) uint8.

    Version 1 has one contrast and one spectrum, 1/f, for all panes, and no variation of the mean.
    """
    side, draws = images.shape[1], Draws(0, "frost", severity, ids)
    constants = parameters("frost", severity, "cifar", side)
    colours = np.array([[78, 149, 166], [201, 205, 214], [201, 205, 214], [138, 153, 165], [112, 123, 135]])
    chosen = colours[(draws.uniform() * 5).astype(int)]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    amplitude = frequency**-0.5
    amplitude *= 23 / np.sqrt((amplitude**2).mean())
    field = fft.irfft2(fft.rfft2(draws.normal(side, side)) * amplitude[:, : side // 2 + 1], s=(side, side))
    panes = np.clip(chosen[:, None, None] + field[..., None], 0, 255)
    return to_bytes(constants.image_weight * images + constants.frost_weight * panes)


TEXTURES: dict[str, Frosted] = {
    "photographs, other crops": lambda images, ids, severity: photographs(images, ids, severity, seed=1),
    "texture, version 1": texture_v1,
    "texture, version 2": texture,
}


def correct(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mark the images that ``network`` classifies correctly, (N,) bool."""
    with torch.no_grad():
        predictions = [network(inputs(images[i : i + BATCH])).argmax(1) for i in range(0, len(images), BATCH)]
    verdicts: np.ndarray = torch.cat(predictions).numpy() == labels
    return verdicts


def over_severities(theirs: np.ndarray, ours: np.ndarray) -> tuple[float, float, float, float]:
    """Return the difference of the mean accuracies over (severities, images), with its interval and p."""
    differences = (ours.astype(float) - theirs.astype(float)).mean(0)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return float(differences.mean()), float(interval.low), float(interval.high), float(test.pvalue)


def main(folder_of_images: Path, folder: Path, first: int, last: int) -> None:
    """Write one row per network, texture and severity as CSV to stdout."""
    ids, images, labels = read(folder_of_images, first, last)
    sets: dict[str, Frosted] = {"photographs": photographs, **TEXTURES}
    frosted = {name: [make(images, ids, s) for s in SEVERITY_LEVELS] for name, make in sets.items()}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, (build, _) in NETWORKS.items():
        if not (folder / f"{name}.pt").exists():
            continue
        network = build().eval()
        network.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
        print(f"{name}: clean {correct(network, images, labels).mean():.3f}", file=sys.stderr, flush=True)
        verdicts = {kind: np.stack([correct(network, x, labels) for x in batches]) for kind, batches in frosted.items()}
        theirs = verdicts["photographs"]
        for kind in TEXTURES:
            ours = verdicts[kind]
            for severity, real, made in zip(SEVERITY_LEVELS, theirs, ours, strict=True):
                test = compare(real, made)
                numbers = (real.mean(), made.mean(), test.difference, test.low, test.high)
                writer.writerow([name, kind, severity, len(labels), *(f"{x:.4f}" for x in numbers), f"{test.p:.2g}"])
            difference, low, high, p = over_severities(theirs, ours)
            numbers = (theirs.mean(), ours.mean(), difference, low, high)
            writer.writerow([name, kind, "all", len(labels), *(f"{x:.4f}" for x in numbers), f"{p:.2g}"])
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
