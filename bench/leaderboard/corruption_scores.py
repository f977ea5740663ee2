"""Scores of one model under corruptions, from its accuracies: pure functions, without intervals.

AlexNet's errors on ImageNet and ImageNet-C: what the mean corruption error of ImageNet models divides by.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. The mean errors are given to four decimals of a percent as in github RobustBench/robustbench at
78fcc9e, over severities 1 to 5 of the whole ImageNet-C; the clean error is that of the paper's Table 1. RobustBench's
own table of accuracies has another run of AlexNet, on 5000 images, which differs a little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

CLEAN_ERROR: Final = 0.435  # a fraction

#: Fractions by kind: the fifteen that are averaged over, in the order of the paper.
MEAN_ERRORS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "gaussian_noise": 0.886428,
        "shot_noise": 0.894468,
        "impulse_noise": 0.922640,
        "defocus_blur": 0.819880,
        "glass_blur": 0.826268,
        "motion_blur": 0.785948,
        "zoom_blur": 0.798360,
        "snow": 0.866816,
        "frost": 0.826572,
        "fog": 0.819324,
        "brightness": 0.564592,
        "contrast": 0.853204,
        "elastic_transform": 0.646056,
        "pixelate": 0.717840,
        "jpeg_compression": 0.606500,
    }
)


Accuracies = Mapping[tuple[str, int], float]  # (kind, severity) to a fraction

ROUNDING = 1e-12  # a difference of two errors below it is none

Group = TypeVar("Group", str, int)


class Score(NamedTuple):
    """A number in percent, or None and one sentence that says why there is none."""

    value: float | None
    reason: str = ""


def mean_accuracy(acc: Accuracies) -> float:
    """The plain mean over all cells, a fraction: RobustBench's corruptions_acc. Raises ValueError without a cell."""
    return fmean(_filled(acc).values())


def by_kind(acc: Accuracies) -> dict[str, float]:
    """The mean over the severities of every kind, fractions. Raises ValueError without a cell."""
    return _means((kind, value) for (kind, _), value in _filled(acc).items())


def by_severity(acc: Accuracies) -> dict[int, float]:
    """The mean over the kinds at every severity, fractions, the mildest first. Raises ValueError without a cell."""
    means = _means((severity, value) for (_, severity), value in _filled(acc).items())
    return dict(sorted(means.items()))


def by_family(acc: Accuracies, families: Mapping[str, str]) -> dict[str, float]:
    """The mean over the cells of every family, fractions; ``families`` maps kinds to theirs.

    Raises ValueError without a cell, and for a kind without a family.
    """
    homeless = sorted({kind for kind, _ in acc} - set(families))
    if homeless:
        raise ValueError(f"no family for {', '.join(homeless)}")
    return _means((families[kind], value) for (kind, _), value in _filled(acc).items())


def mean_errors(acc: Accuracies) -> dict[str, float]:
    """E_c: the mean over the severities of 1 − accuracy, fractions by kind; what a reference is made of."""
    return _means((kind, 1 - value) for (kind, _), value in _filled(acc).items())


def mean_corruption_error(acc: Accuracies, reference: Mapping[str, float]) -> Score:
    """mCE = 100·mean_c(E_c / E_c^ref) over the kinds of ``acc`` (Hendrycks and Dietterich 2019, section 4.1).

    ``reference`` has E_c^ref by kind as fractions, over the same severities as ``acc``; its other kinds do not count.
    Raises ValueError without a cell.
    """
    return _mean_ratio(mean_errors(acc), reference, why="makes no error")


def relative_mean_corruption_error(
    acc: Accuracies, clean: float, reference: Mapping[str, float], reference_clean: float
) -> Score:
    """Relative mCE = 100·mean_c((E_c − E_clean) / (E_c^ref − E_clean^ref)), as :func:`mean_corruption_error`.

    ``clean`` is an accuracy, as those in ``acc`` are; ``reference_clean`` an error, as those in ``reference`` are.
    """
    ours = {kind: error - (1 - clean) for kind, error in mean_errors(acc).items()}
    theirs = {kind: error - reference_clean for kind, error in reference.items()}
    return _mean_ratio(ours, theirs, why="loses no accuracy")


def _mean_ratio(ours: Mapping[str, float], theirs: Mapping[str, float], *, why: str) -> Score:
    for kind in ours:
        if kind not in theirs:
            return Score(None, f"The reference has no error for {kind}.")
        if theirs[kind] < ROUNDING:
            return Score(None, f"The reference {why} under {kind}, so that the ratio to it is undefined.")
    return Score(100 * fmean(ours[kind] / theirs[kind] for kind in ours))


def _means(pairs: Iterable[tuple[Group, float]]) -> dict[Group, float]:
    groups: dict[Group, list[float]] = {}
    for group, value in pairs:
        groups.setdefault(group, []).append(value)
    return {group: fmean(values) for group, values in groups.items()}


def _filled(acc: Accuracies) -> Accuracies:
    if not acc:
        raise ValueError("no accuracies")
    return acc
