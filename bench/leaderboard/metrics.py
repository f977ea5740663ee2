"""Built-in metrics of the leaderboard, in the order of their columns. To add a metric, add an entry here."""

from __future__ import annotations

from collections.abc import Mapping

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.columns import LOWEST
from bench.leaderboard.corruption_columns import (
    corruption_errors,
    family_accuracy,
    image_sets,
    kind_accuracy,
    severity_accuracy,
)
from bench.leaderboard.distances import nearest_distances
from bench.leaderboard.lowest_known import lowest_known
from bench.leaderboard.registry import METRICS, MetricEntry, MetricInput, Value, metric_meanings, register_metric

__all__ = ["METRICS", "MetricEntry", "MetricInput", "Value", "metric_meanings", "register_metric"]


# Attacks ----------------------------------------------------------------------------------------------------------


def lowest_accuracy(given: MetricInput) -> Mapping[str, Value]:
    """Return the lowest known robust accuracy in percent, its numbers of images, and the attacks that fooled them."""
    lowest = lowest_known(given.row, given.budget, given.outcomes)
    if lowest is None:
        return {}
    return {
        "": lowest.percent,
        "_n": len(lowest.ids),
        "_audit_n": lowest.n_audited,
        "_broken_by": lowest.broken_by() or None,
    }


register_metric(
    f"{LOWEST}@<norm>-<eps>",
    MetricEntry(
        unit="percent",
        meaning=(
            "lowest known robust accuracy in percent: share of the images that are correctly classified under all "
            "verified attacks within this budget. These are the attacks of the run (with any protocol, version, "
            "precision or budget) and of the audit. Computed on the images on which all attacks of the row at this "
            "budget were run, except attacks on fewer than 50 images or on samples of an older version. An attack that "
            "was not run on an image has no influence on its outcome. Mean over seeds"
        ),
        function=lowest_accuracy,
        scope="budget",
        suffixes={
            "_n": "number of these images, the same for each seed",
            "_audit_n": (
                "number of these images on which the attacks of the audit were run within this budget, minimum over "
                "seeds; empty unless all seeds were audited; 0 if the audit stored no images"
            ),
            "_broken_by": (
                "number of these images misclassified under each attack, summed over seeds, and the number "
                "misclassified under this attack only (`alone`), separated by semicolons. Attacks of the audit begin "
                "with `audit:`. Images that are misclassified without an attack are not counted. For a prefiltered "
                "attack, images misclassified under the filtering attacks are not counted either"
            ),
        },
    ),
)


# Corruptions ------------------------------------------------------------------------------------------------------

register_metric(
    "corruptions_set",
    MetricEntry(
        unit="text",
        meaning="source and profile of the corrupted images; if there are several sets, of the selected set",
        function=lambda given: image_sets(given.row),
        scope="corruptions",
    ),
)


def corruption_error(given: MetricInput) -> Mapping[str, Value]:
    """Return the mean corruption error in percent, its reference, and a note."""
    errors = corruption_errors(given.row, given.baseline, given.config.mce_reference)
    return {"": errors.get("mce"), "_reference": errors.get("mce_reference"), "_note": errors.get("mce_note")}


register_metric(
    "mce",
    MetricEntry(
        unit="percent",
        meaning=(
            "mean corruption error in percent: error of a kind averaged over severities, divided by the same error of "
            "the reference, then averaged over the 15 kinds; 100 is as good as the reference; mean over seeds"
        ),
        source="Hendrycks and Dietterich, 2019, arXiv 1903.12261",
        function=corruption_error,
        scope="corruptions",
        suffixes={
            "_reference": (
                "reference of mce: `baseline` of the same backbone, recipe and seed, or `alexnet` with its published "
                "errors"
            ),
            "_note": "why mce or rel_mce is empty, and a note if the row is no better than chance on clean images",
        },
    ),
)


def relative_corruption_error(given: MetricInput) -> Value:
    """Return the relative mean corruption error in percent."""
    return corruption_errors(given.row, given.baseline, given.config.mce_reference).get("rel_mce")


register_metric(
    "rel_mce",
    MetricEntry(
        unit="percent",
        meaning="relative mean corruption error in percent: mce computed from errors minus the clean error",
        source="Hendrycks and Dietterich, 2019, arXiv 1903.12261",
        function=relative_corruption_error,
        scope="corruptions",
    ),
)

_FAMILIES = {
    "noise": "mean accuracy over the standard kinds of noise",
    "blur": "mean accuracy over the standard kinds of blur",
    "weather": "mean accuracy over the standard kinds of weather, including brightness",
    "digital": "mean accuracy over the other standard kinds",
}
for _family, _meaning in _FAMILIES.items():
    register_metric(
        f"{_family}_acc",
        MetricEntry(
            unit="percent",
            meaning=_meaning,
            function=lambda given, family=_family: family_accuracy(given.row, family),  # type: ignore[misc]
            scope="corruptions",
        ),
    )

for _level in SEVERITY_LEVELS:
    register_metric(
        f"severity_{_level}_acc",
        MetricEntry(
            unit="percent",
            meaning=f"mean accuracy over the 15 kinds at severity {_level}",
            function=lambda given, level=_level: severity_accuracy(given.row, level),  # type: ignore[misc]
            scope="corruptions",
        ),
    )

register_metric(
    "<kind>_acc",
    MetricEntry(
        unit="percent",
        meaning="mean accuracy over the 5 severities of one kind",
        function=lambda given: kind_accuracy(given.row, given.kind),
        scope="kind",
    ),
)


# Distances --------------------------------------------------------------------------------------------------------


def median_distance(given: MetricInput) -> Mapping[str, Value]:
    """Return the median distance to the nearest known adversarial image, its interval, and the number of images."""
    distances = nearest_distances(given.row, given.norm, given.outcomes)
    if distances is None:
        return {}
    value, low, high = distances.median()
    return {"": value, "_lo": low, "_hi": high, "_n": len(distances.ids)}


register_metric(
    "median_distance@<norm>",
    MetricEntry(
        unit="distance",
        meaning=(
            "smallest distance within which more than half of the images are misclassified under any attack of this "
            "norm, in units of [0, 1] pixels. The distance is 0 for an image that is misclassified without an attack, "
            "and larger than the largest budget for an image that stays correctly classified. Mean over seeds. Empty "
            "if at least half of the images stay correctly classified"
        ),
        function=median_distance,
        scope="norm",
        suffixes={
            "_lo": (
                "lower end of the 95 % interval (sampling of images only), mean over seeds; the largest budget if both "
                "ends exceed it; 0 for fewer than six images"
            ),
            "_hi": "upper end of this interval; empty if it exceeds the largest budget, and for fewer than six images",
            "_n": "number of images per seed on which all attacks of the row in this norm were run",
        },
    ),
)


def area_under_curve(given: MetricInput) -> Value:
    """Return the mean robust accuracy over all budgets up to the largest, in percent."""
    distances = nearest_distances(given.row, given.norm, given.outcomes)
    return None if distances is None else distances.area()


register_metric(
    "auc@<norm>",
    MetricEntry(
        unit="percent",
        meaning=(
            "mean robust accuracy over all budgets from 0 to the largest, in percent: area under the piecewise linear "
            "curve through the accuracies at 0 and at all attacked budgets, on the same images, divided by the largest "
            "budget; mean over seeds"
        ),
        function=area_under_curve,
        scope="norm",
    ),
)
