"""Scores of one model under corruptions, computed from its accuracies. Pure functions.

Contains the errors of AlexNet on ImageNet and ImageNet-C, which normalise the mean corruption error of ImageNet models:
Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. The mean errors over severities 1 to 5 on all images of ImageNet-C are from the GitHub repository
RobustBench/robustbench at 78fcc9e, in percent with four decimals. The clean error is from Table 1 of the paper. The
accuracy table of RobustBench contains another evaluation of AlexNet on 5000 images, with slightly different values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

CLEAN_ERROR: Final = 0.435  # as a fraction

#: Mean errors of AlexNet, as fractions, for the fifteen standard kinds in the order of the paper.
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


Accuracies = Mapping[tuple[str, int], float]  # accuracy as a fraction, by (kind, severity)

ROUNDING = 1e-12  # smaller differences of two errors are treated as 0

Group = TypeVar("Group", str, int)


class Score(NamedTuple):
    """Score in percent, or None with the reason as one sentence."""

    value: float | None
    reason: str = ""


def mean_accuracy(acc: Accuracies) -> float:
    """Return the mean over all cells as a fraction (RobustBench: corruptions_acc). Raises ValueError without a cell."""
    return fmean(_filled(acc).values())


def by_kind(acc: Accuracies) -> dict[str, float]:
    """Return the mean over the severities of each kind, as fractions. Raises ValueError without a cell."""
    return _means((kind, value) for (kind, _), value in _filled(acc).items())


def by_severity(acc: Accuracies) -> dict[int, float]:
    """Return the mean over the kinds at each severity, as fractions, sorted. Raises ValueError without a cell."""
    means = _means((severity, value) for (_, severity), value in _filled(acc).items())
    return dict(sorted(means.items()))


def by_family(acc: Accuracies, families: Mapping[str, str]) -> dict[str, float]:
    """Return the mean over the cells of each family, as fractions; ``families`` maps kind to family.

    Raises ValueError without a cell, and for a kind without a family.
    """
    unmapped = sorted({kind for kind, _ in acc} - set(families))
    if unmapped:
        raise ValueError(f"no family for {', '.join(unmapped)}")
    return _means((families[kind], value) for (kind, _), value in _filled(acc).items())


def mean_errors(acc: Accuracies) -> dict[str, float]:
    """Return E_c, the mean of 1 − accuracy over the severities: fractions by kind. Raises ValueError without a cell."""
    return _means((kind, 1 - value) for (kind, _), value in _filled(acc).items())


def mean_corruption_error(acc: Accuracies, reference: Mapping[str, float]) -> Score:
    """Return mCE = 100·mean_c(E_c / E_c^ref) over the kinds of ``acc`` (Hendrycks and Dietterich 2019, section 4.1).

    ``reference`` are the errors E_c^ref by kind, as fractions, over the same severities as ``acc``. Kinds that are not
    in ``acc`` are ignored. Raises ValueError without a cell.
    """
    return _mean_ratio(mean_errors(acc), reference, why="makes no error")


def relative_mean_corruption_error(
    acc: Accuracies, clean: float, reference: Mapping[str, float], reference_clean: float
) -> Score:
    """Return relative mCE = 100·mean_c((E_c − E_clean) / (E_c^ref − E_clean^ref)).

    See :func:`mean_corruption_error`. ``acc`` and ``clean`` are accuracies, ``reference`` and ``reference_clean`` are
    errors, all as fractions. Raises ValueError without a cell.
    """
    errors = {kind: error - (1 - clean) for kind, error in mean_errors(acc).items()}
    reference_errors = {kind: error - reference_clean for kind, error in reference.items()}
    return _mean_ratio(errors, reference_errors, why="loses no accuracy")


def _mean_ratio(errors: Mapping[str, float], reference: Mapping[str, float], *, why: str) -> Score:
    for kind in errors:
        if kind not in reference:
            return Score(None, f"The reference has no error for {kind}.")
        if reference[kind] < ROUNDING:
            return Score(None, f"The reference {why} under {kind}, so that the ratio is undefined.")
    return Score(100 * fmean(errors[kind] / reference[kind] for kind in errors))


def _means(pairs: Iterable[tuple[Group, float]]) -> dict[Group, float]:
    groups: dict[Group, list[float]] = {}
    for group, value in pairs:
        groups.setdefault(group, []).append(value)
    return {group: fmean(values) for group, values in groups.items()}


def _filled(acc: Accuracies) -> Accuracies:
    if not acc:
        raise ValueError("no accuracies")
    return acc
