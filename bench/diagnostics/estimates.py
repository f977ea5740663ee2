"""Mean relative and median distances over images, with bootstrap intervals."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from bench.diagnostics.latents import Floats, Value, undefined
from bench.statistics.intervals import FEWEST, bootstrap_interval

NONE_CORRECT = "no image is classified correctly"
NONE_FOOLED = "no image was fooled"


class Estimate(NamedTuple):
    """A value and the ends of its 95 % bootstrap interval (sampling of images, these weights).

    The ends are undefined for fewer than ``FEWEST`` images.
    """

    value: Value
    low: Value
    high: Value


def unknown(reason: str) -> Estimate:
    """No value and no interval, and why."""
    return Estimate(*(undefined(reason),) * 3)


def mean_ratio(distances: Floats, inputs: Floats, nobody: str) -> Estimate:
    """The mean of ‖r‖/‖x‖ over the images given; ``nobody`` is the reason when there are none."""
    if not len(distances):
        return unknown(nobody)
    black = int((inputs == 0).sum())
    if black:
        return unknown(f"{black} images are 0 throughout and have no relative distance")
    ratios = distances / inputs
    return _with_interval(Value(float(ratios.mean())), ratios, "mean")


def censored_median(distances: Floats, n_correct: int) -> Estimate:
    """The median over all ``n_correct`` images; those without a distance in ``distances`` are infinitely far."""
    if not n_correct:
        return unknown(NONE_CORRECT)
    known = np.append(distances, np.full(n_correct - len(distances), np.inf))
    median = float(np.median(known))
    missing = undefined("half of the correct images or more were not fooled")
    return _with_interval(Value(median) if math.isfinite(median) else missing, known, "median")


def _with_interval(value: Value, values: Floats, statistic: Literal["mean", "median"]) -> Estimate:
    low, high = bootstrap_interval(values, statistic)
    return Estimate(value, _end(low), _end(high))


def _end(end: float) -> Value:
    if math.isnan(end):
        return undefined(f"an interval needs at least {FEWEST} images")
    return Value(end) if math.isfinite(end) else undefined("it lies beyond every distance that was found")
