"""The attacks that come with the project. Importing this module fills :data:`attacks.registry.ATTACKS`."""

from __future__ import annotations

from collections.abc import Mapping

from attacks import ensemble
from attacks.registry import ATTACKS, AttackEntry, Cost, Library
from bench.core.specs import Precision, Scalar

ORIGIN = "attacks.builtin"
SEARCH_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")  # of our own attacks


def _pgd_name(params: Mapping[str, Scalar]) -> str:
    restarts = f"-r{params['restarts']}" if params["restarts"] != 1 else ""
    return f"pgd-{params['steps']}{restarts}"


def _pgd_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    steps, restarts = int(params["steps"]), int(params["restarts"])
    passes = (steps + 1) * restarts
    return Cost(passes, passes, 1, 1)


ATTACKS.register(
    "fgsm",
    AttackEntry(
        summary="one step of size eps along the sign of the gradient (the normalised gradient for l2)",
        source="Goodfellow et al. 2015, arXiv 1412.6572",
        function="attacks.fgsm:fgsm",
        version=3,
        precisions=SEARCH_PRECISIONS,
        bounded=True,
        reference=Library("attacks.reference.fgsm:fgsm", "foolbox"),
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "pgd",
    AttackEntry(
        summary="projected gradient ascent on the cross-entropy: pgd-<steps>[-r<restarts>], 20 steps by default",
        source="Madry et al. 2018, arXiv 1706.06083",
        function="attacks.pgd:pgd",
        version=3,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        reference=Library("attacks.reference.pgd:pgd", "foolbox"),
        params={"steps": 20, "restarts": 1},
        grammar=r"-(?P<steps>\d+)(?:-r(?P<restarts>\d+))?",
        spell=_pgd_name,
        cost=_pgd_cost,
    ),
    origin=ORIGIN,
)
_LIBRARY = Library("attacks.reference.autoattack:autoattack", "pyautoattack", batches_itself=True, draws_by_batch=True)
_SOURCES = {
    "fab-t": "Croce and Hein 2020, arXiv 1907.02044",
    "square": "Andriushchenko et al. 2020, arXiv 1912.00049",
}
for _name, _version, _summary in (
    ("autoattack", "standard", "APGD-CE, targeted APGD-DLR, targeted FAB and Square, one after the other"),
    ("apgd-ce", "apgd-ce", "the first stage of autoattack alone: auto-PGD on the cross-entropy"),
    ("apgd-dlr", "apgd-dlr", "auto-PGD on the difference-of-logits ratio"),
    ("apgd-t", "apgd-t", "the second stage alone: auto-PGD on the targeted difference-of-logits ratio"),
    ("fab-t", "fab-t", "the third stage alone: the nearest adversarial image, class by class"),
    ("square", "square", "the fourth stage alone: random search, no gradients"),
    ("autoattack-plus", "plus", "autoattack with untargeted stages and more restarts"),
):
    ATTACKS.register(
        _name,
        AttackEntry(
            summary=_summary,
            source=_SOURCES.get(_name, "Croce and Hein 2020, arXiv 2003.01690"),
            function="attacks.autoattack:autoattack",
            version=3,
            precisions=SEARCH_PRECISIONS,
            params={"version": _version},
            cost=ensemble.cost,
            notes=ensemble.notes,
            batches_itself=True,
            bounded=True,
            reference=_LIBRARY,
        ),
        origin=ORIGIN,
    )
ATTACKS.register(
    "autoattack-rand",
    AttackEntry(
        summary="APGD-CE and APGD-DLR averaged over 20 draws, for randomised models; through pyautoattack",
        source="Croce and Hein 2020, arXiv 2003.01690",
        function=_LIBRARY.function,
        backend=_LIBRARY.distribution,
        params={"version": "rand"},
        cost=ensemble.cost,
        notes=ensemble.notes,
        batches_itself=True,
        draws_by_batch=True,
        reference=_LIBRARY,
    ),
    origin=ORIGIN,
)
