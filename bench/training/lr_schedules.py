"""Learning-rate schedules, with separate rates for the body and the output layer.

The epoch counts from 1. Its fraction is the finished share of the epoch: 2.5 is the middle of the second epoch. The
published schedules change the rate once per epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from bench.core.registry import Registry
from bench.core.specs import Recipe

CONSTANT_SHARE = 0.2  # share of the epochs before the cosine decay: 200 of 1000 in the published recipe
FINAL_LR = 1e-8
ONE_CYCLE_FIRST, ONE_CYCLE_PEAK, ONE_CYCLE_LAST = 0.2, 0.23, 0.07
IMAGENET_WARM_UP, IMAGENET_FIRST, IMAGENET_CONSTANT, IMAGENET_FINAL_LR = 5, 0.28, 70, 1e-7


class Rates(NamedTuple):
    """Learning rates of one epoch, for the body (backbone and head) and for the output layer."""

    body: float
    output: float


LR_SCHEDULES: Registry[Callable[[float, Recipe], Rates]] = Registry("learning-rate schedule")


def cosine(epoch: float, recipe: Recipe) -> Rates:
    """Keep the rate for the first fifth of the epochs, then decay it by a cosine to 1e-8 in the last epoch.

    The rate of the output layer is constant.
    """
    constant = math.floor(CONSTANT_SHARE * recipe.epochs)
    return Rates(_decay(math.floor(epoch), recipe, after=constant, final=FINAL_LR), recipe.lr)


def imagenet(epoch: float, recipe: Recipe) -> Rates:
    """Warm up linearly from 0.28 to 1 of the rate in five epochs, keep it up to epoch 70, then decay it to 1e-7.

    The decay is a cosine up to the last epoch. The rate of the output layer is constant after the warm-up.
    """
    epoch, step = math.floor(epoch), (1 - IMAGENET_FIRST) / (IMAGENET_WARM_UP - 1)
    warm = min(1.0, IMAGENET_FIRST + step * (epoch - 1)) * recipe.lr
    return Rates(min(warm, _decay(epoch, recipe, after=IMAGENET_CONSTANT, final=IMAGENET_FINAL_LR)), warm)


def halving_2024(epoch: float, recipe: Recipe) -> Rates:
    """Halve the rate after epoch 300 and after every 50 epochs from then on. The rate of the output layer is constant.

    The authors' code of November 2024 has a scheduler that halves after every 50 steps, and takes its first step after
    epoch 251. The manuscript (OpenReview FwlM1k4ODx) gives epoch 250 as the start.
    """
    return Rates(recipe.lr / 2 ** (max(0, math.floor(epoch) - 251) // 50), recipe.lr)


def one_cycle(epoch: float, recipe: Recipe) -> Rates:
    """Raise the rate linearly from 0.2 to 1 of ``lr`` in the first 23 % of the steps, then lower it linearly to 0.07.

    Both rates are equal. The three numbers are those of Jordan 2024, arXiv 2404.00498.
    """
    progress = (epoch - 1) / max(recipe.epochs, 1)
    rising = ONE_CYCLE_FIRST + (1 - ONE_CYCLE_FIRST) * progress / ONE_CYCLE_PEAK
    falling = ONE_CYCLE_LAST + (1 - ONE_CYCLE_LAST) * (1 - progress) / (1 - ONE_CYCLE_PEAK)
    rate = recipe.lr * min(rising, falling)
    return Rates(rate, rate)


def _decay(epoch: int, recipe: Recipe, *, after: int, final: float) -> float:
    if epoch <= after:
        return recipe.lr
    progress = min(1.0, (epoch - after) / max(recipe.epochs - after, 1))
    return final + (recipe.lr - final) * (1 + math.cos(math.pi * progress)) / 2


for _function in (cosine, imagenet, halving_2024, one_cycle):
    LR_SCHEDULES.register(_function.__name__, _function, origin="bench.training.lr_schedules")
