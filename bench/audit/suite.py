"""Group the run's own attacks by budget, and read their per-image outcomes on a common subset. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bench.audit.checks import Misclassified, any_of, robust_accuracy
from bench.core.records import AttackTraits, EvalRecord
from bench.core.specs import Norm
from bench.planning.attack_traits import Traits, traits_of
from bench.results.precedence import evidence
from bench.results.store import Store

UNKNOWN = AttackTraits(uses_gradient=False, family="")  # for cells without an attack and for unknown plug-ins
NO_TRAITS: Traits = MappingProxyType({})


class Budget(NamedTuple):
    """Norm and radius of a perturbation."""

    norm: Norm
    eps: float


def by_budget(cells: Iterable[EvalRecord]) -> dict[Budget, list[EvalRecord]]:
    """Group the ok cells of attacks by budget. If cells share a name, keep the cell shown on the leaderboard."""
    best: dict[tuple[Budget, str], EvalRecord] = {}
    for cell in cells:
        attack = cell.spec.attack
        if attack is None or cell.status != "ok":
            continue
        entry = Budget(attack.norm, attack.eps), cell.spec.name
        if entry not in best or evidence(cell) > evidence(best[entry]):
            best[entry] = cell
    groups: dict[Budget, list[EvalRecord]] = defaultdict(list)
    for (budget, _), cell in sorted(best.items()):
        groups[budget].append(cell)
    return dict(groups)


def outcomes_on(store: Store, cells: Sequence[EvalRecord], ids: Sequence[str]) -> dict[str, Misclassified]:
    """Return which of the images ``ids`` are misclassified, by cell name. Cells without all of ``ids`` are left out."""
    outcomes = {}
    for cell in cells:
        correct = {sample.sample_id: sample.correct for sample in store.read_samples(cell)}
        if all(name in correct for name in ids):
            outcomes[cell.spec.name] = np.array([not correct[name] for name in ids])
    return outcomes


def gradient_attacks(cells: Sequence[EvalRecord], stored: Traits = NO_TRAITS) -> tuple[str, ...]:
    """Return the names of the cells of pure gradient attacks. Cells that filter images by another attack are left out.

    ``stored`` are the traits of attacks whose plug-ins are not loaded.
    """
    pure = (cell for cell in cells if not cell.spec.filters and _traits(cell, stored).uses_gradient)
    return tuple(cell.spec.name for cell in pure)


def ladder(cells: Sequence[EvalRecord], stored: Traits = NO_TRAITS) -> tuple[tuple[str, str], ...]:
    """Return pairs (weaker, stronger) of attacks of one family: the stronger has more steps and no fewer restarts.

    Attacks with fewer steps and more restarts are not comparable. Attacks with a query budget are left out, because
    they may be weaker than their number of steps suggests.
    """
    comparable = [
        c for c in cells if not c.spec.filters and c.spec.attack is not None and c.spec.attack.max_queries is None
    ]
    families = {cell.spec.name: _traits(cell, stored).family for cell in comparable}
    efforts = {cell.spec.name: _effort(cell) for cell in comparable if families[cell.spec.name]}
    pairs = (
        (weaker, stronger)
        for weaker in efforts
        for stronger in efforts
        if families[weaker] == families[stronger] and _is_weaker(efforts[weaker], efforts[stronger])
    )
    return tuple(sorted(pairs))


def most_informative(claims: Mapping[Budget, float], clean: float) -> Budget:
    """Return the budget whose robust accuracy is nearest to half the clean accuracy; the larger budget in a tie.

    Accuracies are in percent. At this budget, an overestimate is easiest to detect: an accuracy of 0 cannot be too
    high, and an accuracy near the clean accuracy shows that the budget is too small.
    """
    return min(claims, key=lambda budget: (abs(claims[budget] - clean / 2), -budget.eps))


def claim(outcomes: Mapping[str, Misclassified]) -> float:
    """Return the robust accuracy under the whole suite, in percent."""
    return robust_accuracy(any_of(*outcomes.values()))


class _Effort(NamedTuple):
    steps: int
    restarts: int


def _effort(cell: EvalRecord) -> _Effort:
    params = cell.spec.attack.params if cell.spec.attack else {}
    return _Effort(int(params.get("steps", 1)), int(params.get("restarts", 1)))


def _is_weaker(first: _Effort, second: _Effort) -> bool:
    return first.steps < second.steps and first.restarts <= second.restarts


def _traits(cell: EvalRecord, stored: Traits) -> AttackTraits:
    return (cell.spec.attack and traits_of(cell.spec.attack, stored)) or UNKNOWN
