"""Composition of AutoAttack, and its changes for data sets with few classes. Data only, no torch.

The published attack (Croce and Hein 2020) takes 9 target classes and the difference-of-logits-ratio (DLR) loss,

    DLR(z, y) = −(z_y − max_{j≠y} z_j) / (z_π1 − z_π3),
    targeted:   −(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2),       π: logits in descending order,

so it needs 10 classes as published, and 4 (3 untargeted) for the loss to exist. With fewer than 10 classes there are
K − 1 targets. If the loss does not exist, the margin in its numerator, z_y − max z_j or z_y − z_t, replaces it.

For l1 (Croce and Hein 2021, arXiv 2103.01208) Auto-PGD searches in balls of decreasing radii
(:mod:`bench.attacks.apgd_l1`), has five starts on the cross-entropy, and takes 5 target classes.

A custom ensemble is named ``autoattack-<stage>+<stage>…``, with two stages or more in the order in which they run.
Append ``-i<iterations>`` to change the iterations of APGD and FAB, and ``-s<queries>`` to change the queries of Square:
``autoattack-apgd-ce+fab-t+square-i20-s500``. Each stage runs as in ``standard``. An untargeted stage that ``standard``
does not contain has one start (Auto-PGD in l1: five). The separator is a plus sign, which needs no quoting in
comma-separated lists, TOML, CSV and the shell. A colon is not possible: in column names it precedes a protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.attacks.registry import Cost
from bench.core.errors import BenchError
from bench.core.specs import Scalar
from bench.core.words import join

STAGES = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    **{stage: (stage,) for stage in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")},
}
RESTARTS = {"plus": 5}  # restarts of the untargeted stages
PUBLISHED_TARGETS = 9
ITERATIONS = 100
SQUARE_QUERIES = 5000
DLR_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}  # the fewest classes for which the stage's loss exists

L1_PARAMS: Mapping[str, Scalar] = {"apgd_starts": 5, "apgd_targets": 5, "apgd_phases": 3}
# Stages of which a custom ensemble may consist
CUSTOM_STAGES = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
_STAGE = f"(?:{'|'.join(CUSTOM_STAGES)})"
GRAMMAR = rf"-(?P<version>{_STAGE}(?:\+{_STAGE})+)(?:-i(?P<iterations>\d+))?(?:-s(?P<queries>\d+))?"


class Budget(NamedTuple):
    """Budget of the stages of an ensemble."""

    iterations: int  # of APGD and FAB
    queries: int  # of Square
    restarts: int  # starts of the untargeted FAB stage
    apgd_starts: int  # starts of the untargeted Auto-PGD stages
    apgd_targets: int  # target classes of Auto-PGD, if the data set has as many
    phases: int  # radii of Auto-PGD, 3 for l1

    @classmethod
    def of(cls, params: Mapping[str, Scalar]) -> Budget:
        """Return the budget for the parameters of a cell; published values for parameters that are not given."""
        restarts = RESTARTS.get(str(params["version"]), 1)
        return cls(
            int(params.get("iterations", ITERATIONS)),
            int(params.get("queries", SQUARE_QUERIES)),
            restarts,
            int(params.get("apgd_starts", restarts)),
            int(params.get("apgd_targets", PUBLISHED_TARGETS)),
            int(params.get("apgd_phases", 1)),
        )


def autoattack_arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the keyword arguments of :func:`bench.attacks.auto_attack.autoattack` for the parameters of a cell."""
    budget = Budget.of(params)
    return {"version": params["version"], "steps": budget.iterations, "queries": budget.queries}


def apgd_arguments(objective: str) -> Callable[[Mapping[str, Scalar]], dict[str, Scalar]]:
    """Return a function from parameters of a cell to keyword arguments of :func:`bench.attacks.apgd_attack.apgd`."""

    def arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        budget = Budget.of(params)
        found: dict[str, Scalar] = {"objective": objective, "steps": budget.iterations}
        return found | {"restarts": budget.apgd_starts, "n_targets": budget.apgd_targets}

    return arguments


def fab_arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the keyword arguments of :func:`bench.attacks.fab_attack.fab` for the parameters of a cell."""
    return {"steps": Budget.of(params).iterations}


def square_arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the keyword arguments of :func:`bench.attacks.square_attack.square` for the parameters of a cell."""
    return {"queries": Budget.of(params).queries}


def is_custom(params: Mapping[str, Scalar]) -> bool:
    """Return whether the ensemble is a custom one, not a published one or one of its stages."""
    return str(params["version"]) not in STAGES


def stages_of(params: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Return the names of the stages in the order in which they run."""
    version = str(params["version"])
    return STAGES.get(version) or tuple(version.split("+"))


def spell(params: Mapping[str, Scalar]) -> str:
    """Return the canonical name of the attack. Raises BenchError for a stage that is named twice."""
    if not is_custom(params):
        return "autoattack"
    stages = stages_of(params)
    twice = [stage for stage in stages if stages.count(stage) > 1]
    if twice:
        raise BenchError(f"stage {twice[0]!r} occurs twice in 'autoattack-{params['version']}'; name each stage once.")
    budget = Budget.of(params)
    iterations = f"-i{budget.iterations}" if budget.iterations != ITERATIONS else ""
    queries = f"-s{budget.queries}" if budget.queries != SQUARE_QUERIES and "square" in stages else ""
    return f"autoattack-{params['version']}{iterations}{queries}"


def explain(name: str) -> str:
    """Return why ``name``, "autoattack-…", is no valid custom ensemble, and the form of a valid name."""
    match = re.fullmatch(r"autoattack-(.*?)(?:-i(\d+))?(?:-s(\d+))?", name)
    written, *numbers = match.groups() if match else (name,)
    stages = written.split("+")
    unknown = [repr(stage) for stage in stages if stage not in CUSTOM_STAGES]
    faults = [f"no stage is called {join(unknown, 'or')}"] if unknown else []
    if not unknown and len(stages) == 1:
        faults.append(f"{written!r} alone is {'an attack by this name' if written in STAGES else 'no attack'}")
    faults += [f"-{letter}{n} is less than 1" for letter, n in zip("is", numbers, strict=False) if n and not int(n)]
    form = "A custom ensemble is named autoattack-<stage>+<stage>…[-i<iterations>][-s<queries>]"
    reason = "; ".join(faults)
    return f"{reason[:1].upper()}{reason[1:]}. {form}, with two stages or more: {join(CUSTOM_STAGES)}."


def target_count(num_classes: int, published: int = PUBLISHED_TARGETS) -> int:
    """Return the number of target classes: ``published``, but at most ``num_classes`` − 1."""
    return min(published, num_classes - 1)


def lacks_dlr(stage: str, num_classes: int) -> bool:
    """Return whether ``num_classes`` are too few for the DLR loss of ``stage``, so that the margin replaces it."""
    return num_classes < DLR_CLASSES.get(stage, 0)


def notes(params: Mapping[str, Scalar], num_classes: int) -> tuple[str, ...]:
    """Return the differences from the published attack, as notes for the row in the results."""
    stages, budget = stages_of(params), Budget.of(params)
    found = ["custom ensemble, not the published one"] if is_custom(params) else []
    if budget.iterations != ITERATIONS:
        found.append(f"iterations: {budget.iterations} in place of {ITERATIONS}")
    if budget.queries != SQUARE_QUERIES:
        found.append(f"queries: {budget.queries} in place of {SQUARE_QUERIES}")
    published = {"apgd-t": budget.apgd_targets, "fab-t": PUBLISHED_TARGETS}
    for targets in sorted({published[stage] for stage in stages if stage in published}):
        if num_classes <= targets:
            found.append(f"target classes: {target_count(num_classes)} in place of {targets}")
    replaced = [stage for stage in stages if lacks_dlr(stage, num_classes)]
    if replaced:
        found.append(f"margin loss in place of DLR in {', '.join(replaced)}: {num_classes} classes")
    return tuple(found)


def cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the passes of an image that no stage finds an adversarial image for, and the fewest passes of any image.

    Speculative queries, by which our own searches fill a batch (:mod:`bench.attacks.engine.run_search`), are not
    counted. APGD: one pass to start, or one per radius, and one per iteration. FAB: two forward passes per iteration,
    and one backward pass per target. Untargeted FAB differentiates every logit: the library in K backward passes, our
    own attack with one query, forward and backward, for each. Square: one forward pass per query.
    """
    version, budget = str(params["version"]), Budget.of(params)
    targets, draws = target_count(num_classes), 20 if version == "rand" else 1
    iterations, restarts = budget.iterations, budget.restarts
    apgd = (iterations + budget.phases) * draws
    untargeted, targeted = apgd * budget.apgd_starts, apgd * target_count(num_classes, budget.apgd_targets)
    stages = {
        "apgd-ce": (untargeted, untargeted),
        "apgd-dlr": (untargeted, untargeted),
        "apgd-t": (targeted, targeted),
        "fab": (iterations * max(2, num_classes) * restarts, iterations * num_classes * restarts),
        "fab-t": (iterations * 2 * targets, iterations * targets),
        "square": (budget.queries, 0),
    }
    chosen = [stages[stage] for stage in stages_of(params)]
    return Cost(sum(f for f, _ in chosen), sum(b for _, b in chosen), 1, 0)
