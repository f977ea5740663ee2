"""Compare the per-image outcomes of attacks. Return findings that indicate an overestimated robust accuracy. No torch.

The attacks are independent: each starts from the clean images. All functions are pure functions of boolean vectors over
the same images. ``misclassified`` vectors are (N,), one value per image of the audited subset. An entry is true if the
image is misclassified after the attack or was misclassified before the attack. Each flag comes from one comparison:

- ``scale_masking``: PGD on the plain float32 cross-entropy against PGD on logits rescaled to a usual gap (the
  difference of the two largest logits). The predicted class does not depend on the scale of the logits, so robustness
  must not depend on it either (Carlini and Wagner 2016, arXiv 1607.04311, on defensive distillation).
- ``not_converged``: PGD against PGD with twice the steps (Carlini et al. 2019: "verify that attacks have converged").
- ``weaker_attack_stronger``: images on which a weaker attack succeeds and a stronger attack fails, for example one
  step against many steps.
- ``black_box_stronger``: images on which Square, noise or steps towards images of other classes succeed and every
  gradient attack fails (Athalye et al. 2018, arXiv 1802.00420).
- ``transfer``: images on which an attack transferred from the paired baseline succeeds and attacks with the model's own
  gradients fail (Athalye et al. 2018).
- ``large_eps_survivors``: images on which a gradient attack fails, although its budget is so large that the ball
  contains a uniform grey image that the model misclassifies.
- ``stronger_attack``: images on which an attack of the audit succeeds and every attack of the suite fails, so that the
  robust accuracy under the suite is too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.records import Finding
from bench.results.audit_verdict import ORDER_ALLOWANCE, POINTS, TRANSFER

Misclassified = NDArray[np.bool_]

RISK = 0.05  # one-sided error probability of every bound


class Change(NamedTuple):
    """Drop in robust accuracy from one attack to another, in percentage points."""

    points: float
    lower: float  # lower bound given b + c; a flag is raised by this bound
    least: float  # unconditional one-sided lower bound, with a coverage of at least 95 %; reported in the finding
    n_regressed: int  # images misclassified under the second attack only
    n_improved: int  # images misclassified under the first attack only


def change(before: Misclassified, after: Misclassified) -> Change:
    """Return the drop 100·(b − c)/n from the robust accuracy under ``before`` to that under ``after``.

    b images are misclassified under ``after`` only, c images under ``before`` only. Given b + c, b is binomial, with
    θ = 1/2 if both attacks are equally strong. Let θ_L be the lower bound of Clopper and Pearson 1934 for θ. Then
    ``lower`` is 100·(2·θ_L − 1)·(b + c)/n, the conditional exact bound that corresponds to McNemar's exact test. Since
    b + c is random as well, the coverage of ``lower`` is less than 95 %: 84 % for a true drop of 20 points. ``least``
    combines the bounds of b/n and c/n, each at half the risk.

    Raise ValueError if the vectors are empty or have different shapes.
    """
    n_regressed, n_improved, n = _changed_counts(before, after)
    least = _lower(n_regressed, n, risk=RISK / 2) - _upper(n_improved, n, risk=RISK / 2)
    return Change(
        100 * (n_regressed - n_improved) / n,
        _conditional(n_regressed, n_improved, n),
        100 * least,
        n_regressed,
        n_improved,
    )


def beyond(before: Misclassified, added: Misclassified) -> Change:
    """Return the drop in robust accuracy when the attacks behind ``added`` are added to those behind ``before``.

    More attacks can only decrease the accuracy, so ``least`` is Clopper and Pearson's bound of b/n. Raise ValueError if
    the vectors are empty or have different shapes.
    """
    n_regressed, _, n = _changed_counts(before, added)
    return Change(100 * n_regressed / n, _conditional(n_regressed, 0, n), 100 * _lower(n_regressed, n), n_regressed, 0)


def mde(n: int, n_correct: int) -> float | None:
    """Return the smallest drop in points that raises a flag on ``n`` images, if n_improved is 0.

    Return None if no flag is raised even when all ``n_correct`` correctly classified images become misclassified.
    """
    for n_regressed in range(1, n_correct + 1):
        if _conditional(n_regressed, 0, n) > POINTS:
            return 100 * n_regressed / n
    return None


class Rate(NamedTuple):
    """Share of the images in points, with its lower bound and the number of images."""

    points: float
    lower: float
    images: int


def only_by(weaker: Misclassified, stronger: Misclassified) -> Rate:
    """Return the share of images misclassified under the weaker attack only, with its lower bound."""
    _, count, n = _changed_counts(weaker, stronger)
    return Rate(100 * count / n, 100 * _lower(count, n), count)


def any_of(*vectors: Misclassified) -> Misclassified:
    """Return which images are misclassified under at least one attack: the pointwise worst case.

    Raise ValueError if no vector is given.
    """
    if not vectors:
        raise ValueError("no outcomes")
    return reduce(np.logical_or, vectors)


def robust_accuracy(misclassified: Misclassified) -> float:
    """Return the robust accuracy in percent of all images of the subset."""
    return 100 * float((~misclassified).mean())


def _changed_counts(before: Misclassified, after: Misclassified) -> tuple[int, int, int]:
    """Count the images misclassified under the second attack only, under the first only, and all images."""
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"outcomes have shapes {before.shape} and {after.shape}; they must be equal, (N,) with N > 0")
    return int((after & ~before).sum()), int((before & ~after).sum()), len(before)


def _conditional(n_regressed: int, n_improved: int, n: int) -> float:
    differing = n_regressed + n_improved
    return 100 * (2 * _lower(n_regressed, differing) - 1) * differing / n if differing else 0.0


def _lower(count: int, n: int, risk: float = RISK) -> float:
    """Return Clopper and Pearson's one-sided lower bound of count/n."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low: Any = proportion_confint(count, n, alpha=2 * risk, method="beta")[0]
    return float(low)


def _upper(count: int, n: int, risk: float) -> float:
    return 1 - _lower(n - count, n, risk)


# The audit's own attacks.
PLAIN: Final = "plain"
RESCALED: Final = "rescaled"
LONGER: Final = "longer"
MARGIN: Final = "margin"
NOISE: Final = "noise"
NEIGHBOURS: Final = "neighbours"
SQUARE: Final = "square"
WHITE_BOX: Final = (PLAIN, RESCALED, LONGER, MARGIN)
BLACK_BOX: Final = (NOISE, NEIGHBOURS, SQUARE)
# Attacks at the large budget.
LARGE: Final = "large"
GREY: Final = "grey"


class Outcomes(NamedTuple):
    """Outcomes of all attacks on the same images, by name of the attack. True: the image is misclassified.

    ``suite`` has the run's attacks at the audited budget, and ``gradients`` the names of its pure gradient attacks.
    ``ladder`` has the pairs of a weaker and a stronger attack from :func:`bench.audit.suite.ladder`. ``probes`` has the
    audit's own attacks, at this budget or at the large budget ``reach``.
    """

    suite: Mapping[str, Misclassified]
    gradients: tuple[str, ...]
    ladder: tuple[tuple[str, str], ...]
    probes: Mapping[str, Misclassified]
    reach: float | None = None


def findings(outcomes: Outcomes) -> list[Finding]:
    """Return the findings that indicate an overestimated robust accuracy, one per flag."""
    other_eps = {"large_eps_survivors": outcomes.reach}
    compared = ((flag, pair, sentence) for flag, pair, sentence in _comparisons(outcomes) if pair is not None)
    candidates = [_drop(flag, pair, sentence, other_eps.get(flag)) for flag, pair, sentence in compared]
    return [finding for finding in (*candidates, _order(outcomes)) if finding is not None]


def figures(outcomes: Outcomes) -> dict[str, float]:
    """Return robust accuracies in percent and drops in points, including drops that raise no flag."""
    probes = outcomes.probes
    values = {f"acc_{name}": robust_accuracy(probes[name]) for name in (*WHITE_BOX, LARGE) if name in probes}
    if outcomes.suite:
        values["acc_suite"] = robust_accuracy(any_of(*outcomes.suite.values()))
    if RESCALED in probes and MARGIN in probes:
        values["drop_margin"] = change(probes[RESCALED], probes[MARGIN]).points
    return values | {f"drop_{flag}": pair.points for flag, pair, _ in _comparisons(outcomes) if pair is not None}


def white_box(outcomes: Outcomes) -> Misclassified | None:
    """Return which images are misclassified under a gradient attack of the suite or the audit; None if none was run."""
    own = [outcomes.probes[name] for name in WHITE_BOX if name in outcomes.probes]
    vectors = [*own, *(outcomes.suite[name] for name in outcomes.gradients)]
    return any_of(*vectors) if vectors else None


def _comparisons(outcomes: Outcomes) -> list[tuple[str, Change | None, str]]:
    """Return flag, drop in robust accuracy (None if not compared) and description of every comparison."""
    probes, gradient_based = outcomes.probes, white_box(outcomes)
    black = [probes[name] for name in BLACK_BOX if name in probes]
    own_attacks = [misclassified for name, misclassified in probes.items() if name not in (LARGE, GREY)]
    transferred = [probes[TRANSFER]] if TRANSFER in probes else []
    grey = [probes[GREY]] if GREY in probes else []
    large = _beyond(probes[LARGE], grey) if LARGE in probes else None
    stronger = _beyond(any_of(*outcomes.suite.values()), own_attacks) if outcomes.suite else None
    return [
        ("scale_masking", _pair(probes, PLAIN, RESCALED), "PGD is stronger on logits rescaled to a usual gap"),
        ("not_converged", _pair(probes, RESCALED, LONGER), "PGD is stronger with twice the steps"),
        (
            "black_box_stronger",
            _beyond(gradient_based, black),
            "attacks without gradients succeed where every gradient attack fails",
        ),
        (
            "transfer",
            _beyond(gradient_based, transferred),
            "transfer from the baseline succeeds where the model's own gradients fail",
        ),
        ("large_eps_survivors", large, "a gradient attack fails at a budget at which one grey image is adversarial"),
        ("stronger_attack", stronger, "the audit's attacks succeed where the whole suite fails"),
    ]


def _drop(flag: str, drop: Change, sentence: str, eps: float | None) -> Finding | None:
    if drop.lower <= POINTS:
        return None
    counts = (
        f"{drop.n_regressed} more images and {drop.n_improved} fewer"
        if drop.n_improved
        else f"{drop.n_regressed} more images"
    )
    least = f"; at least {drop.least:.1f} points" if drop.least > 0 else ""
    return Finding(flag, f"{sentence}: {drop.points:.1f} points ({counts}{least})", drop.points, eps)


def _order(outcomes: Outcomes) -> Finding | None:
    """Return the finding of the pair (weaker, stronger) with the most such images; None if no pair raises the flag."""
    pairs = {}
    for weaker, stronger in outcomes.ladder:
        pairs[weaker, stronger] = only_by(outcomes.suite[weaker], outcomes.suite[stronger])
    if RESCALED in outcomes.probes and LONGER in outcomes.probes:
        pairs[RESCALED, LONGER] = only_by(outcomes.probes[RESCALED], outcomes.probes[LONGER])
    if not pairs:
        return None
    (weaker, stronger), rate = max(pairs.items(), key=lambda item: item[1].lower)
    if rate.lower <= ORDER_ALLOWANCE:
        return None
    note = f"{weaker} succeeds on {rate.images} images on which {stronger} fails: {rate.points:.1f} points"
    return Finding(
        "weaker_attack_stronger", f"{note} (at least {rate.lower:.1f}, allowed are {ORDER_ALLOWANCE})", rate.points
    )


def _pair(probes: Mapping[str, Misclassified], before: str, after: str) -> Change | None:
    return change(probes[before], probes[after]) if before in probes and after in probes else None


def _beyond(base: Misclassified | None, added: list[Misclassified]) -> Change | None:
    """Return the drop in robust accuracy when the attacks ``added`` are added to the attacks behind ``base``."""
    return beyond(base, any_of(*added)) if added and base is not None else None
