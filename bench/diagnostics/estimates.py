"""Mean relative distances and median distances over images, with bootstrap intervals."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from bench.diagnostics.latents import Floats, Value, undefined
from bench.statistics.intervals import FEWEST, bootstrap_interval

NONE_CORRECT = "no image is classified correctly"
NONE_FOOLED = "no attack succeeded"


class Estimate(NamedTuple):
    """A value with its 95 % bootstrap interval over images, for fixed weights.

    The ends of the interval are undefined for fewer than ``FEWEST`` images.
    """

    value: Value
    low: Value
    high: Value


def unknown(reason: str) -> Estimate:
    """Return an estimate without value and interval, with the reason."""
    return Estimate(*(undefined(reason),) * 3)


def mean_ratio(distances: Floats, inputs: Floats, if_empty: str) -> Estimate:
    """Return the mean of ‖r‖/‖x‖ over the images. ``distances`` ‖r‖ and ``inputs`` ‖x‖ are (M,).

    Without images the value is undefined, with the reason ``if_empty``.
    """
    if not len(distances):
        return unknown(if_empty)
    black = int((inputs == 0).sum())
    if black:
        return unknown(f"{black} images are completely black and have no relative distance")
    ratios = distances / inputs
    return _with_interval(Value(float(ratios.mean())), ratios, "mean")


def censored_median(distances: Floats, n_correct: int) -> Estimate:
    """Return the median over ``n_correct`` images. The distance of images missing in ``distances`` is infinite."""
    if not n_correct:
        return unknown(NONE_CORRECT)
    all_distances = np.append(distances, np.full(n_correct - len(distances), np.inf))
    median = float(np.median(all_distances))
    missing = undefined("no attack succeeded on half of the correctly classified images or more")
    return _with_interval(Value(median) if math.isfinite(median) else missing, all_distances, "median")


def _with_interval(value: Value, values: Floats, statistic: Literal["mean", "median"]) -> Estimate:
    low, high = bootstrap_interval(values, statistic)
    return Estimate(value, _end(low), _end(high))


def _end(end: float) -> Value:
    if math.isnan(end):
        return undefined(f"an interval needs at least {FEWEST} images")
    return Value(end) if math.isfinite(end) else undefined("it is larger than every known distance")
