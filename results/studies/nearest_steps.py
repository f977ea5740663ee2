r"""Compare the median nearest distance for half, once and twice the default number of steps.

    bench run --dataset digits --models resnet10t --epochs 10 --variants baseline,lpc,pgd_at --attacks none \
        --corruptions none --audit none --no-diagnose --results RESULTS
    python results/studies/nearest_steps.py RESULTS resnet10t:baseline resnet10t:lpc resnet10t:pgd_at

The default is sufficient if twice the steps lower the median by less than 2 %.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from bench.diagnostics import nearest_distance as measured
from bench.diagnostics.deepfool_score import deepfool_scores
from bench.evaluation.load_run import reopen
from bench.models.classifier import Classifier
from bench.results.store import Store

IMAGES = 100
NAMES = ("DDN_STEPS", "FMN_STEPS", "FAB_STEPS")


def main(results: Path, names: list[str]) -> None:
    """Print one row per network."""
    steps = {name: getattr(measured, name) for name in NAMES}
    print("network,deepfool,half,default,twice")
    for name in names:
        store = Store(results)
        opened = reopen(store.find_run(name), store, data_dir=None, device="cpu")
        model, context = opened.model, opened.context
        assert isinstance(model, Classifier)  # the model was trained by this project
        images = context.images("test", IMAGES)
        inputs = images.inputs(torch.arange(len(images)), context.device)
        deepfool = deepfool_scores(model, inputs, images.labels, batch_size=IMAGES)
        medians = [float(np.median(deepfool.distances))]
        for factor in (0.5, 1, 2):
            for constant, value in steps.items():
                setattr(measured, constant, int(factor * value))
            correct = inputs[deepfool.correct]
            distances = measured.nearest_distances(model, correct, keys=torch.arange(len(correct)))
            medians.append(float(np.median(np.minimum(distances, deepfool.distances))))
        print(name, *(f"{median:.4f}" for median in medians), sep=",", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
