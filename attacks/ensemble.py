"""Composition of AutoAttack and of ensembles with more stages, and changes for few classes. Data only, no torch.

The published attack (Croce and Hein 2020) takes 9 target classes and the difference-of-logits-ratio (DLR) loss,

    DLR(z, y) = −(z_y − max_{j≠y} z_j) / (z_π1 − z_π3),
    targeted:   −(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2),       π: logits in descending order,

The 9 target classes need a data set with 10 classes. With fewer classes, K − 1 target classes are used. The targeted
loss is defined for 4 classes or more, the untargeted loss for 3 or more. With fewer classes, the margin in the
numerator of the loss, z_y − max z_j or z_y − z_t, replaces the loss.

For l1 (Croce and Hein 2021, arXiv 2103.01208), Auto-PGD searches in balls of decreasing radii
(:mod:`bench.attacks.apgd_l1`), has five starts on the cross-entropy, and takes 5 target classes.

``robust`` runs the stages of AutoAttack after two attacks that find most adversarial images with fewer passes, ``cr``
and ``pma``. ``robust-fast`` runs only these two. The stages of AutoAttack draw the same random numbers as in
``autoattack``, so that ``robust`` breaks every image that ``autoattack`` breaks.

A custom ensemble is named ``autoattack-<stage>+<stage>…``, with two stages or more in the order in which they run.
Append ``-i<iterations>`` to change the iterations of APGD and FAB, and ``-s<queries>`` to change the queries of Square:
``autoattack-apgd-ce+fab-t+square-i20-s500``. Each stage runs as in ``standard``. An untargeted stage that ``standard``
does not contain has one start (Auto-PGD in l1: five). The separator is a plus sign, which needs no quoting in
comma-separated lists, TOML, CSV and the shell. A colon is not possible, because it precedes a protocol in column names.
"""

from __future__ import annotations

import math
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
    "robust": ("cr", "pma", "apgd-ce", "apgd-t", "fab-t", "square"),
    "robust-fast": ("cr", "pma"),
    **{stage: (stage,) for stage in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")},
}
ROBUST = ("robust", "robust-fast")
FAST_NOTE = "upper bound: the attack robust, with four more stages, may find more adversarial images"
RESTARTS = {"plus": 5}  # restarts of the untargeted stages
PUBLISHED_TARGETS = 9
ITERATIONS = 100
SQUARE_QUERIES = 5000
CR_WARM_UP, CR_CYCLES, CR_STEPS, CR_RESTARTS = 10, 5, 10, 4  # see bench.attacks.relaxation_attack
PMA_STEPS, PMA_RUNS = 100, 2
DLR_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}  # minimum number of classes for which the loss of a stage is defined

L1_PARAMS: Mapping[str, Scalar] = {"apgd_starts": 5, "apgd_targets": 5, "apgd_phases": 3}
# Possible stages of a custom ensemble.
CUSTOM_STAGES = ("apgd-ce", "apgd-dlr", "apgd-t", "cr", "pma", "fab", "fab-t", "square")
_STAGE = f"(?:{'|'.join(CUSTOM_STAGES)})"
GRAMMAR = rf"-(?P<version>{_STAGE}(?:\+{_STAGE})+)(?:-i(?P<iterations>\d+))?(?:-s(?P<queries>\d+))?"


class Budget(NamedTuple):
    """Budget of the stages of an ensemble."""

    iterations: int  # iterations of APGD and FAB
    queries: int  # queries of Square
    restarts: int  # starts of the untargeted FAB stage
    apgd_starts: int  # starts of the untargeted Auto-PGD stages
    apgd_targets: int  # maximum number of target classes of Auto-PGD
    phases: int  # number of radii of Auto-PGD, 3 for l1

    @classmethod
    def of(cls, params: Mapping[str, Scalar]) -> Budget:
        """Return the budget for the parameters of a cell, with published values for missing parameters."""
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
        keywords: dict[str, Scalar] = {"objective": objective, "steps": budget.iterations}
        return keywords | {"restarts": budget.apgd_starts, "n_targets": budget.apgd_targets}

    return arguments


def fab_arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the keyword arguments of :func:`bench.attacks.fab_attack.fab` for the parameters of a cell."""
    return {"steps": Budget.of(params).iterations}


def square_arguments(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the keyword arguments of :func:`bench.attacks.square_attack.square` for the parameters of a cell."""
    return {"queries": Budget.of(params).queries}


def is_custom(params: Mapping[str, Scalar]) -> bool:
    """Return whether the ensemble is custom: neither a published ensemble nor a single stage."""
    return str(params["version"]) not in STAGES


def stages_of(params: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Return the names of the stages in the order in which they run."""
    version = str(params["version"])
    return STAGES.get(version) or tuple(version.split("+"))


def spell(params: Mapping[str, Scalar]) -> str:
    """Return the canonical name of the attack. Raises BenchError for a stage that is named twice."""
    if not is_custom(params):
        return str(params["version"]) if params["version"] in ROBUST else "autoattack"
    stages = stages_of(params)
    repeated = [stage for stage in stages if stages.count(stage) > 1]
    if repeated:
        raise BenchError(
            f"stage {repeated[0]!r} occurs twice in 'autoattack-{params['version']}'; name each stage once."
        )
    budget = Budget.of(params)
    iterations = f"-i{budget.iterations}" if budget.iterations != ITERATIONS else ""
    queries = f"-s{budget.queries}" if budget.queries != SQUARE_QUERIES and "square" in stages else ""
    return f"autoattack-{params['version']}{iterations}{queries}"


def explain(name: str) -> str:
    """Explain why ``name``, "autoattack-…", is not a valid custom ensemble, and give the form of a valid name."""
    match = re.fullmatch(r"autoattack-(.*?)(?:-i(\d+))?(?:-s(\d+))?", name)
    spelled, *numbers = match.groups() if match else (name,)
    stages = spelled.split("+")
    unknown = [repr(stage) for stage in stages if stage not in CUSTOM_STAGES]
    faults = [f"no stage is called {join(unknown, 'or')}"] if unknown else []
    if not unknown and len(stages) == 1:
        faults.append(f"{spelled!r} alone is {'an attack by this name' if spelled in STAGES else 'no attack'}")
    faults += [f"-{letter}{n} is less than 1" for letter, n in zip("is", numbers, strict=False) if n and not int(n)]
    form = "A custom ensemble is named autoattack-<stage>+<stage>…[-i<iterations>][-s<queries>]"
    reason = "; ".join(faults)
    return f"{reason[:1].upper()}{reason[1:]}. {form}, with two stages or more: {join(CUSTOM_STAGES)}."


def target_count(num_classes: int, published: int = PUBLISHED_TARGETS) -> int:
    """Return the number of target classes: ``published``, but at most ``num_classes`` − 1."""
    return min(published, num_classes - 1)


def relaxation_targets(num_classes: int) -> int:
    """Return the number of target classes of ``cr``, ⌈ln K⌉ but at most K − 1.

    >>> [relaxation_targets(k) for k in (2, 3, 10, 100, 1000)]
    [1, 2, 3, 5, 7]
    """
    return min(math.ceil(math.log(num_classes)), num_classes - 1)


def relaxation_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the cost of ``cr`` for an image with restarts of every target, and the minimum of any image.

    Most images cost a tenth of it: most targets end after 30 of the 201 queries of a start, and few have restarts.
    """
    starts, per_cycle = relaxation_targets(num_classes) * (1 + CR_RESTARTS), 4 * CR_STEPS
    forwards, backwards = starts * (CR_CYCLES * per_cycle + 1), starts * CR_CYCLES * 3 * CR_STEPS
    return Cost(1 + CR_WARM_UP + 1 + forwards, CR_WARM_UP + backwards, 1, 0)


def margin_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the cost of ``pma``: in each run, one query at the image and one per step."""
    return Cost(PMA_RUNS * (PMA_STEPS + 1), PMA_RUNS * PMA_STEPS, 1, 1)


def lacks_dlr(stage: str, num_classes: int) -> bool:
    """Return whether ``num_classes`` are too few for the DLR loss of ``stage``, so that the margin replaces it."""
    return num_classes < DLR_CLASSES.get(stage, 0)


def notes(params: Mapping[str, Scalar], num_classes: int) -> tuple[str, ...]:
    """Return the differences from the published attack, as notes for the row in the results."""
    stages, budget = stages_of(params), Budget.of(params)
    differences = ["custom ensemble, not the published one"] if is_custom(params) else []
    if params["version"] == "robust-fast":
        differences.append(FAST_NOTE)
    if budget.iterations != ITERATIONS:
        differences.append(f"iterations: {budget.iterations} in place of {ITERATIONS}")
    if budget.queries != SQUARE_QUERIES:
        differences.append(f"queries: {budget.queries} in place of {SQUARE_QUERIES}")
    published = {"apgd-t": budget.apgd_targets, "fab-t": PUBLISHED_TARGETS}
    for targets in sorted({published[stage] for stage in stages if stage in published}):
        if num_classes <= targets:
            differences.append(f"target classes: {target_count(num_classes)} in place of {targets}")
    replaced = [stage for stage in stages if lacks_dlr(stage, num_classes)]
    if replaced:
        differences.append(f"margin loss in place of DLR in {', '.join(replaced)}: {num_classes} classes")
    return tuple(differences)


def cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the passes for an image without an adversarial image, and the minimum number of passes of any image.

    Speculative queries, which fill a batch of this project's searches (:mod:`bench.attacks.engine.run_search`), are
    not counted.

    APGD: one pass to start, or one per radius, and one per iteration. FAB: two forward passes per iteration, and one
    backward pass per target. Untargeted FAB differentiates every logit. The library needs K backward passes, and this
    project one forward and one backward pass per logit. Square: one forward pass per query.
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
        "cr": relaxation_cost({}, num_classes)[:2],
        "pma": margin_cost({}, num_classes)[:2],
    }
    chosen = [stages[stage] for stage in stages_of(params)]
    return Cost(sum(f for f, _ in chosen), sum(b for _, b in chosen), 1, 0)
