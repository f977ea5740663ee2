"""The attacks that come with the project. Importing this module fills :data:`attacks.registry.ATTACKS`."""

from __future__ import annotations

from collections.abc import Mapping

from attacks import ensemble
from attacks.registry import ATTACKS, AttackEntry, Cost
from bench.core.specs import Scalar

ORIGIN = "attacks.builtin"


def _pgd_name(params: Mapping[str, Scalar]) -> str:
    restarts = f"-r{params['restarts']}" if params["restarts"] != 1 else ""
    return f"pgd-{params['steps']}{restarts}"


def _pgd_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    steps, restarts = int(params["steps"]), int(params["restarts"])
    verdicts = restarts if restarts > 1 else 0  # between restarts the broken images are sorted out
    return Cost(steps * restarts + verdicts, steps * restarts, steps, steps)


ATTACKS.register(
    "fgsm",
    AttackEntry(
        summary="one step of size eps along the sign of the gradient (the normalised gradient for l2)",
        source="Goodfellow et al. 2015, arXiv 1412.6572",
        function="attacks.fgsm:fgsm",
        backend="foolbox",
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "pgd",
    AttackEntry(
        summary="projected gradient ascent on the cross-entropy: pgd-<steps>[-r<restarts>], 20 steps by default",
        source="Madry et al. 2018, arXiv 1706.06083",
        function="attacks.pgd:pgd",
        backend="foolbox",
        params={"steps": 20, "restarts": 1},
        grammar=r"-(?P<steps>\d+)(?:-r(?P<restarts>\d+))?",
        spell=_pgd_name,
        cost=_pgd_cost,
    ),
    origin=ORIGIN,
)
for _name, _version, _summary in (
    ("autoattack", "standard", "APGD-CE, targeted APGD-DLR, targeted FAB and Square, one after the other"),
    ("autoattack-plus", "plus", "autoattack with untargeted stages and more restarts"),
    ("autoattack-rand", "rand", "APGD-CE and APGD-DLR averaged over 20 draws, for randomised models"),
    ("apgd-ce", "apgd-ce", "the first stage of autoattack alone: auto-PGD on the cross-entropy"),
):
    ATTACKS.register(
        _name,
        AttackEntry(
            summary=_summary,
            source="Croce and Hein 2020, arXiv 2003.01690",
            function="attacks.autoattack:autoattack",
            backend="pyautoattack",
            params={"version": _version},
            cost=ensemble.cost,
            notes=ensemble.notes,
            batches_itself=True,
        ),
        origin=ORIGIN,
    )
