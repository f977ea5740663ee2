"""Findings that cast doubt on a robust accuracy, from the outcomes of attacks on the same images. Pure; no torch.

The attacks are independent: each began at the clean images. The flags, and the comparison behind each:

- ``scale_masking``: PGD on the plain float32 cross-entropy, against the same on logits of an ordinary gap. A class does
  not depend on the scale of the logits, so robustness must not either (Carlini and Wagner 2016, arXiv 1607.04311, on
  defensive distillation).
- ``not_converged``: the same with twice the steps (Carlini et al. 2019: "verify that attacks have converged").
- ``weaker_attack_stronger``: images that a weaker attack breaks and a stronger one does not (one step against many).
- ``black_box_stronger``: images that Square, noise or steps towards images of other classes break and no gradient
  attack does (Athalye et al. 2018, arXiv 1802.00420).
- ``transfer``: images made on the paired baseline that break the model where its own gradients do not
  (the same source).
- ``large_eps_survivors``: images that one grey image breaks and a gradient attack does not, at a budget that reaches
  the grey from every image.
- ``stronger_attack``: images that the audit's attacks break and the whole suite does not: its accuracy is too high.

Comparisons of the per-image outcomes of two attacks: pure functions of boolean vectors over the same images.

``broken`` vectors are (N,), one value per image of the audited subset. True: the image is misclassified after the
attack, or was misclassified before it. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.records import Finding
from bench.results.audit_verdict import ORDER_ALLOWANCE, POINTS, TRANSFER

Broken = NDArray[np.bool_]

RISK = 0.05  # of every bound, one-sided


class Change(NamedTuple):
    """Fall of the robust accuracy from one attack to another, in points."""

    points: float
    lower: float  # what a flag goes by: a bound that takes b + c for given
    least: float  # what may be said: a one-sided lower bound that covers the true fall in 95 % of cases or more
    n_regressed: int  # images that only the second breaks
    n_improved: int  # images that only the first breaks


def change(before: Broken, after: Broken) -> Change:
    """The fall 100·(b − c)/n from the robust accuracy under ``before`` to that under ``after``.

    b images are broken by ``after`` alone and c by ``before`` alone. Given b + c, b is binomial with θ = 1/2 if neither
    is stronger; with θ_L the lower bound of Clopper and Pearson 1934 for θ ``lower`` is 100·(2·θ_L − 1)·(b + c)/n, the
    conditional exact bound that belongs to McNemar's exact test. b + c is a draw, too, so that of a true fall of 20
    points it is below in 84 % of cases only; ``least`` takes the bounds of b/n and c/n, each at half the risk.
    Raises ValueError for vectors of different images or of none.
    """
    n_regressed, n_improved, n = _counted(before, after)
    least = _lower(n_regressed, n, risk=RISK / 2) - _upper(n_improved, n, risk=RISK / 2)
    return Change(
        100 * (n_regressed - n_improved) / n,
        _conditional(n_regressed, n_improved, n),
        100 * least,
        n_regressed,
        n_improved,
    )


def beyond(before: Broken, more: Broken) -> Change:
    """The fall when attacks that broke ``more`` join those of ``before``: none of its images can come back.

    ``least`` then is Clopper and Pearson's bound of b/n. Raises ValueError for vectors of different images or of none.
    """
    n_regressed, _, n = _counted(before, more)
    return Change(100 * n_regressed / n, _conditional(n_regressed, 0, n), 100 * _lower(n_regressed, n), n_regressed, 0)


def mde(n: int, n_correct: int) -> float | None:
    """The smallest fall in points that flags among ``n`` images, if nothing speaks for the first attack.

    None when even the fall of all ``n_correct`` that can fall would be no more than chance.
    """
    for n_regressed in range(1, n_correct + 1):
        if _conditional(n_regressed, 0, n) > POINTS:
            return 100 * n_regressed / n
    return None


class Rate(NamedTuple):
    """A share of the images, in points, and the least that it may be."""

    points: float
    lower: float
    images: int


def only_by(weaker: Broken, stronger: Broken) -> Rate:
    """The share of all images that the weaker attack breaks and the stronger does not, with its lower bound."""
    _, count, n = _counted(weaker, stronger)
    return Rate(100 * count / n, 100 * _lower(count, n), count)


def any_of(*vectors: Broken) -> Broken:
    """The images that one of several attacks breaks: the pointwise worst case. Raises ValueError without a vector."""
    if not vectors:
        raise ValueError("no outcomes")
    return reduce(np.logical_or, vectors)


def robust_accuracy(broken: Broken) -> float:
    """Return the robust accuracy in percent of all images of the subset."""
    return 100 * float((~broken).mean())


def _counted(before: Broken, after: Broken) -> tuple[int, int, int]:
    """The images that only the second breaks, those that only the first does, and all."""
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(f"outcomes of {before.shape} and {after.shape} are not of the same images, or of none")
    return int((after & ~before).sum()), int((before & ~after).sum()), len(before)


def _conditional(n_regressed: int, n_improved: int, n: int) -> float:
    differing = n_regressed + n_improved
    return 100 * (2 * _lower(n_regressed, differing) - 1) * differing / n if differing else 0.0


def _lower(count: int, n: int, risk: float = RISK) -> float:
    """Clopper and Pearson's one-sided lower bound of count/n."""
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
# At the large budget.
LARGE: Final = "large"
GREY: Final = "grey"


class Outcomes(NamedTuple):
    """Outcomes of every attack on the same images, by the attack's name; True where the image is misclassified.

    ``suite`` holds the run's own attacks at the audited budget, ``gradients`` the names of those among them that follow
    gradients only, ``ladder`` the pairs of :func:`bench.audit.suite.ladder`, a weaker attack and a stronger one.
    ``probes`` holds the audit's own attacks, at this budget or at the large budget ``reach``.
    """

    suite: Mapping[str, Broken]
    gradients: tuple[str, ...]
    ladder: tuple[tuple[str, str], ...]
    probes: Mapping[str, Broken]
    reach: float | None = None


def findings(outcomes: Outcomes) -> list[Finding]:
    """Return the findings that cast doubt on the robust accuracy, one per flag."""
    elsewhere = {"large_eps_survivors": outcomes.reach}
    compared = ((flag, pair, sentence) for flag, pair, sentence in _comparisons(outcomes) if pair is not None)
    found = [_fall(flag, pair, sentence, elsewhere.get(flag)) for flag, pair, sentence in compared]
    return [finding for finding in (*found, _order(outcomes)) if finding is not None]


def figures(outcomes: Outcomes) -> dict[str, float]:
    """Robust accuracies in percent and falls in points, whether or not they flag."""
    probes = outcomes.probes
    values = {f"acc_{name}": robust_accuracy(probes[name]) for name in (*WHITE_BOX, LARGE) if name in probes}
    if outcomes.suite:
        values["acc_suite"] = robust_accuracy(any_of(*outcomes.suite.values()))
    if RESCALED in probes and MARGIN in probes:
        values["drop_margin"] = change(probes[RESCALED], probes[MARGIN]).points
    return values | {f"drop_{flag}": pair.points for flag, pair, _ in _comparisons(outcomes) if pair is not None}


def white_box(outcomes: Outcomes) -> Broken | None:
    """Return which images are misclassified after a gradient attack of the suite or the audit; None without one."""
    ours = [outcomes.probes[name] for name in WHITE_BOX if name in outcomes.probes]
    found = [*ours, *(outcomes.suite[name] for name in outcomes.gradients)]
    return any_of(*found) if found else None


def _comparisons(outcomes: Outcomes) -> list[tuple[str, Change | None, str]]:
    """Return per comparison its flag, the fall in robust accuracy (None if not compared) and its description."""
    probes, white = outcomes.probes, white_box(outcomes)
    black = [probes[name] for name in BLACK_BOX if name in probes]
    own = [broken for name, broken in probes.items() if name not in (LARGE, GREY)]
    shown = [probes[TRANSFER]] if TRANSFER in probes else []
    grey = [probes[GREY]] if GREY in probes else []
    large = _beyond(probes[LARGE], grey) if LARGE in probes else None
    beaten = _beyond(any_of(*outcomes.suite.values()), own) if outcomes.suite else None
    return [
        ("scale_masking", _pair(probes, PLAIN, RESCALED), "PGD breaks more once the logits have an ordinary gap"),
        ("not_converged", _pair(probes, RESCALED, LONGER), "PGD with twice the steps breaks more"),
        (
            "black_box_stronger",
            _beyond(white, black),
            "attacks without gradients break what no attack by gradients does",
        ),
        ("transfer", _beyond(white, shown), "images made on the baseline break it where its own gradients do not"),
        ("large_eps_survivors", large, "its gradients do not find the one grey that breaks all classes but one"),
        ("stronger_attack", beaten, "the audit's attacks break what the whole suite does not"),
    ]


def _fall(flag: str, fall: Change, sentence: str, eps: float | None) -> Finding | None:
    if fall.lower <= POINTS:
        return None
    counts = (
        f"{fall.n_regressed} images more and {fall.n_improved} fewer"
        if fall.n_improved
        else f"{fall.n_regressed} images more"
    )
    least = f"; at least {fall.least:.1f} points" if fall.least > 0 else ""
    return Finding(flag, f"{sentence}: {fall.points:.1f} points ({counts}{least})", fall.points, eps)


def _order(outcomes: Outcomes) -> Finding | None:
    """The worst of all pairs of a weaker and a stronger attack."""
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
    note = f"{weaker} breaks {rate.images} images that {stronger} does not: {rate.points:.1f} points"
    return Finding(
        "weaker_attack_stronger", f"{note} (at least {rate.lower:.1f}, {ORDER_ALLOWANCE} are allowed)", rate.points
    )


def _pair(probes: Mapping[str, Broken], before: str, after: str) -> Change | None:
    return change(probes[before], probes[after]) if before in probes and after in probes else None


def _beyond(base: Broken | None, more: list[Broken]) -> Change | None:
    """Return the fall of the robust accuracy when ``more`` attacks join those of ``base``."""
    return beyond(base, any_of(*more)) if more and base is not None else None
