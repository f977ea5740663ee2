"""The run's own attacks as the audit sees them: by budget, and image by image on a common subset. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.attacks import builtin as builtin  # fills the registry
from bench.attacks.registry import entry_of
from bench.audit.checks import Broken, any_of, robust_accuracy
from bench.core.records import EvalRecord
from bench.core.specs import Norm
from bench.results.precedence import evidence
from bench.results.store import Store


class Budget(NamedTuple):
    norm: Norm
    eps: float


def by_budget(cells: Iterable[EvalRecord]) -> dict[Budget, list[EvalRecord]]:
    """Group the ok cells of attacks by budget; among several of one name, keep the one that the leaderboard shows."""
    best: dict[tuple[Budget, str], EvalRecord] = {}
    for cell in cells:
        attack = cell.spec.attack
        if attack is None or cell.status != "ok":
            continue
        place = Budget(attack.norm, attack.eps), cell.spec.name
        if place not in best or evidence(cell) > evidence(best[place]):
            best[place] = cell
    found: dict[Budget, list[EvalRecord]] = defaultdict(list)
    for (budget, _), cell in sorted(best.items()):
        found[budget].append(cell)
    return dict(found)


def outcomes_on(store: Store, cells: Sequence[EvalRecord], ids: Sequence[str]) -> dict[str, Broken]:
    """Return which of the images ``ids`` are misclassified, by cell name; cells that lack one of them are left out."""
    found = {}
    for cell in cells:
        correct = {sample.sample_id: sample.correct for sample in store.read_samples(cell)}
        if all(name in correct for name in ids):
            found[cell.spec.name] = np.array([not correct[name] for name in ids])
    return found


def gradient_attacks(cells: Sequence[EvalRecord]) -> tuple[str, ...]:
    """Return the names of the cells whose attacks follow gradients only, on images that no other attack filtered."""
    return tuple(cell.spec.name for cell in cells if _uses_gradient(cell) and not cell.spec.filters)


def ladder(cells: Sequence[EvalRecord]) -> tuple[tuple[str, str], ...]:
    """Return pairs of attacks of one family, the weaker first: the stronger has more steps, and no fewer restarts.

    Steps that are traded for restarts make another attack, not a weaker one. An attack with a query budget is left
    out: it may be weaker than its steps say.
    """
    whole = [c for c in cells if not c.spec.filters and c.spec.attack is not None and c.spec.attack.max_queries is None]
    walks = {cell.spec.name: _walk(cell) for cell in whole if _family(cell)}
    families = {cell.spec.name: _family(cell) for cell in whole}
    pairs = (
        (weaker, stronger)
        for weaker in walks
        for stronger in walks
        if families[weaker] == families[stronger] and _less(walks[weaker], walks[stronger])
    )
    return tuple(sorted(pairs))


def most_telling(claims: Mapping[Budget, float], clean: float) -> Budget:
    """The budget whose robust accuracy is nearest to half the clean one, both in percent; of equal ones the larger.

    There an overestimate has room: at 0 there is nothing left to doubt, and at the clean accuracy nothing was tried.
    """
    return min(claims, key=lambda budget: (abs(claims[budget] - clean / 2), -budget.eps))


def claim(outcomes: Mapping[str, Broken]) -> float:
    """The robust accuracy that the suite as a whole leaves, in percent."""
    return robust_accuracy(any_of(*outcomes.values()))


class _Walk(NamedTuple):
    steps: int
    restarts: int


def _walk(cell: EvalRecord) -> _Walk:
    params = cell.spec.attack.params if cell.spec.attack else {}
    return _Walk(int(params.get("steps", 1)), int(params.get("restarts", 1)))


def _less(one: _Walk, other: _Walk) -> bool:
    return one.steps < other.steps and one.restarts <= other.restarts


def _family(cell: EvalRecord) -> str:
    """Return the family of the cell's attack; empty for none, and for a plug-in's that is not loaded."""
    entry = entry_of(cell.spec.attack) if cell.spec.attack else None
    return entry.family if entry else ""


def _uses_gradient(cell: EvalRecord) -> bool:
    """Whether the cell's attack follows gradients only; False for a plug-in's that is not loaded."""
    entry = entry_of(cell.spec.attack) if cell.spec.attack else None
    return entry is not None and entry.uses_gradient
