"""What AutoAttack consists of, and what becomes of it when there are few classes. Data only, no torch.

The published attack (Croce and Hein 2020) takes 9 target classes and the difference-of-logits-ratio (DLR) loss,

    DLR(z, y) = −(z_y − max_{j≠y} z_j) / (z_π1 − z_π3),
    targeted:   −(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2),       π: logits in falling order,

so it needs 10 classes as published, and 4 (3 untargeted) for the loss to exist. With fewer the number of targets is
K − 1 and the ratio's numerator alone, the margin z_y − max z_j or z_y − z_t, takes the place of the DLR.
"""

from __future__ import annotations

from collections.abc import Mapping

from attacks.registry import Cost
from bench.core.specs import Scalar

STAGES = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    **{stage: (stage,) for stage in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")},
}
RESTARTS = {"plus": 5}  # of the untargeted stages
PUBLISHED_TARGETS = 9
ITERATIONS = 100
SQUARE_QUERIES = 5000
DLR_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}  # the fewest classes for which the stage's loss exists


def target_count(num_classes: int) -> int:
    return min(PUBLISHED_TARGETS, num_classes - 1)


def lacks_dlr(stage: str, num_classes: int) -> bool:
    """Whether the margin must take the place of the DLR loss in ``stage``."""
    return num_classes < DLR_CLASSES.get(stage, 0)


def notes(params: Mapping[str, Scalar], num_classes: int) -> tuple[str, ...]:
    """What departs from the published attack, for the row."""
    stages = STAGES[str(params["version"])]
    found = []
    if num_classes <= PUBLISHED_TARGETS and any(stage.endswith("-t") for stage in stages):
        found.append(f"target classes: {target_count(num_classes)} in place of {PUBLISHED_TARGETS}")
    replaced = [stage for stage in stages if lacks_dlr(stage, num_classes)]
    if replaced:
        found.append(f"margin loss in place of DLR in {', '.join(replaced)}: {num_classes} classes")
    return tuple(found)


def cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Passes of an image that survives every stage, and the least that any image costs.

    APGD: one pass to start and one an iteration. FAB: two forwards an iteration, and one backward for a target or K for
    the untargeted form, which differentiates every logit. Square: one forward a query.
    """
    version = str(params["version"])
    targets, draws = target_count(num_classes), 20 if version == "rand" else 1
    restarts = RESTARTS.get(version, 1)
    apgd = (ITERATIONS + 1) * draws
    stages = {
        "apgd-ce": (apgd * restarts, apgd * restarts),
        "apgd-dlr": (apgd * restarts, apgd * restarts),
        "apgd-t": (apgd * targets, apgd * targets),
        "fab": (ITERATIONS * 2 * restarts, ITERATIONS * num_classes * restarts),
        "fab-t": (ITERATIONS * 2 * targets, ITERATIONS * targets),
        "square": (SQUARE_QUERIES, 0),
    }
    chosen = [stages[stage] for stage in STAGES[version]]
    return Cost(sum(f for f, _ in chosen), sum(b for _, b in chosen), 1, 0)
