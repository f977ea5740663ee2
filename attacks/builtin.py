"""Built-in attacks. Importing this module fills :data:`bench.attacks.registry.ATTACKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from bench.attacks import ensemble
from bench.attacks.registry import ATTACKS, BUILTIN, STRONGEST, AttackEntry, Cost, Library
from bench.core.specs import Norm, Precision, Scalar

ORIGIN = BUILTIN
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
SEARCH_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")  # precisions of the attacks implemented in this project


def _steps(family: str) -> Callable[[Mapping[str, Scalar]], str]:
    """Return a function that builds the canonical name <family>-<steps>[-r<restarts>] from the parameters."""

    def spell(params: Mapping[str, Scalar]) -> str:
        restarts = f"-r{params['restarts']}" if params.get("restarts", 1) != 1 else ""
        return f"{family}-{params['steps']}{restarts}"

    return spell


def _iterative_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the cost: per restart, one forward and one backward pass at the start and in every step."""
    passes = (int(params["steps"]) + 1) * int(params.get("restarts", 1))
    return Cost(passes, passes, 1, 1)


def _deepfool_cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
    """Return the cost of one forward pass, then two forward passes and K' − 1 backward passes per step.

    K' is the number of candidate classes.
    """
    steps, planes = int(params["steps"]), min(int(params["candidates"]), num_classes) - 1
    return Cost(1 + 2 * steps, steps * planes, 3, planes)


STEPS = r"-(?P<steps>\d+)"
STEPS_AND_RESTARTS = STEPS + r"(?:-r(?P<restarts>\d+))?"

ATTACKS.register(
    "fgsm",
    AttackEntry(
        summary="one step of size eps along the sign of the gradient (l2: the gradient; l1: its largest entries)",
        source="Goodfellow et al. 2015, arXiv 1412.6572",
        function="bench.attacks.fgsm_attack:fgsm",
        version=3,
        uses_gradient=True,
        targeted=True,
        family="pgd",
        filters=True,
        strength=0,
        norms=NORMS,
        precisions=SEARCH_PRECISIONS,
        bounded=True,
        reference=Library("bench.attacks.reference.fgsm:fgsm", "foolbox", norms=("linf", "l2")),
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "pgd",
    AttackEntry(
        summary="projected gradient ascent on the cross-entropy: pgd-<steps>[-r<restarts>], 20 steps by default",
        source="Madry et al. 2018, arXiv 1706.06083",
        function="bench.attacks.pgd_attack:pgd",
        version=3,
        uses_gradient=True,
        targeted=True,
        family="pgd",
        filters=True,
        strength=1,
        norms=NORMS,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        reference=Library("bench.attacks.reference.pgd:pgd", "foolbox", norms=("linf", "l2")),
        params={"steps": 20, "restarts": 1},
        grammar=STEPS_AND_RESTARTS,
        spell=_steps("pgd"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "pgd-margin",
    AttackEntry(
        summary="pgd on the margin between the label and the best other class: pgd-margin-<steps>[-r<restarts>]",
        source="Carlini and Wagner 2017, arXiv 1608.04644, with the steps of Madry et al. 2018, arXiv 1706.06083",
        function="bench.attacks.pgd_attack:pgd",
        uses_gradient=True,
        targeted=True,
        filters=True,
        strength=1,
        norms=NORMS,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        params={"steps": 20, "restarts": 1, "objective": "margin"},
        grammar=STEPS_AND_RESTARTS,
        spell=_steps("pgd-margin"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "pgd-plain",
    AttackEntry(
        summary="pgd on the plain cross-entropy, with zero gradients at large logits: pgd-plain-<steps>[-r<restarts>]",
        source="Madry et al. 2018, arXiv 1706.06083",
        function="bench.attacks.pgd_attack:pgd",
        uses_gradient=True,
        targeted=True,
        filters=True,
        strength=1,
        norms=NORMS,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        params={"steps": 20, "restarts": 1, "objective": "plain-ce"},
        grammar=STEPS_AND_RESTARTS,
        spell=_steps("pgd-plain"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "mim",
    AttackEntry(
        summary="MI-FGSM, steps of eps/steps along accumulated gradients: mim-<steps>, 10 steps by default",
        source="Dong et al. 2018, arXiv 1710.06081",
        function="bench.attacks.pgd_attack:mim",
        uses_gradient=True,
        targeted=True,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        params={"steps": 10, "momentum": 1.0},
        grammar=STEPS,
        spell=_steps("mim"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "deepfool",
    AttackEntry(
        summary="steps to the nearest linearised decision boundary, to the first adversarial image within eps",
        source="Moosavi-Dezfooli et al. 2016, arXiv 1511.04599",
        function="bench.attacks.deepfool_attack:deepfool",
        uses_gradient=True,
        minimal_norm=True,
        norms=("l2",),
        params={"steps": 50, "candidates": 10},
        cost=_deepfool_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "ddn",
    AttackEntry(
        summary="decoupled direction and norm, to the first adversarial image within eps: ddn-<steps>, 100 by default",
        source="Rony et al. 2019, arXiv 1811.09600",
        function="bench.attacks.ddn_attack:ddn",
        uses_gradient=True,
        minimal_norm=True,
        targeted=True,
        norms=("l2",),
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        params={"steps": 100},
        grammar=STEPS,
        spell=_steps("ddn"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
ATTACKS.register(
    "fmn",
    AttackEntry(
        summary="fast minimum norm, to the first adversarial image within eps: fmn-<steps>, 100 by default",
        source="Pintor et al. 2021, arXiv 2102.12827",
        function="bench.attacks.fmn_attack:fmn",
        uses_gradient=True,
        minimal_norm=True,
        targeted=True,
        norms=NORMS,
        precisions=SEARCH_PRECISIONS,
        batches_itself=True,
        bounded=True,
        params={"steps": 100},
        grammar=STEPS,
        spell=_steps("fmn"),
        cost=_iterative_cost,
    ),
    origin=ORIGIN,
)
_LIBRARY = Library(
    "bench.attacks.reference.autoattack:autoattack", "pyautoattack", batches_itself=True, draws_by_batch=True
)
_AUTOATTACK = AttackEntry(
    summary="APGD-CE, targeted APGD-DLR, targeted FAB and Square, one after the other; or a custom ensemble: "
    "autoattack-<stage>+<stage>…[-i<iterations>][-s<queries>]",
    source="Croce and Hein 2020, arXiv 2003.01690",
    function="bench.attacks.auto_attack:autoattack",
    version=3,
    uses_gradient=False,  # the last stage, Square, uses logits only
    strength=3,
    precisions=SEARCH_PRECISIONS,
    norms=NORMS,
    params={"version": "standard"},
    norm_params={"l1": ensemble.L1_PARAMS},
    arguments=ensemble.autoattack_arguments,
    grammar=ensemble.GRAMMAR,
    spell=ensemble.spell,
    explain=ensemble.explain,
    cost=ensemble.cost,
    notes=ensemble.notes,
    batches_itself=True,
    bounded=True,
    reference=_LIBRARY,
)
_STAGE = replace(_AUTOATTACK, grammar="", spell=None, explain=None, uses_gradient=True, targeted=True)
_APGD = replace(_STAGE, function="bench.attacks.apgd_attack:apgd", strength=2)
for _name, _entry in {
    "autoattack": _AUTOATTACK,
    "apgd-ce": replace(
        _APGD,
        summary="the first stage of autoattack alone: auto-PGD on the cross-entropy",
        params={"version": "apgd-ce"},
        arguments=ensemble.apgd_arguments("ce"),
    ),
    "apgd-dlr": replace(
        _APGD,
        summary="auto-PGD on the difference-of-logits ratio",
        params={"version": "apgd-dlr"},
        arguments=ensemble.apgd_arguments("dlr"),
    ),
    "apgd-t": replace(
        _APGD,
        summary="the second stage of autoattack alone: auto-PGD on the targeted difference-of-logits ratio",
        params={"version": "apgd-t"},
        arguments=ensemble.apgd_arguments("dlr-targeted"),
    ),
    "fab-t": replace(
        _STAGE,
        summary="the third stage of autoattack alone: targeted FAB, a search for the nearest adversarial image",
        source="Croce and Hein 2020, arXiv 1907.02044",
        function="bench.attacks.fab_attack:fab",
        minimal_norm=True,
        strength=STRONGEST,
        params={"version": "fab-t"},
        arguments=ensemble.fab_arguments,
    ),
    "square": replace(
        _STAGE,
        summary="the fourth stage of autoattack alone: random search, no gradients",
        source="Andriushchenko et al. 2020, arXiv 1912.00049",
        function="bench.attacks.square_attack:square",
        uses_gradient=False,
        strength=STRONGEST,
        params={"version": "square"},
        arguments=ensemble.square_arguments,
    ),
    "autoattack-plus": replace(
        _AUTOATTACK,
        summary="autoattack with untargeted stages and more restarts",
        params={"version": "plus"},
        norms=("linf", "l2"),  # the authors define no plus version for l1
        grammar="",
        spell=None,
        explain=None,
    ),
}.items():
    ATTACKS.register(_name, _entry, origin=ORIGIN)
_ROBUST = replace(_AUTOATTACK, version=1, reference=None, grammar="", explain=None)
_ALONE = AttackEntry(
    summary="", source="", function="", uses_gradient=True, strength=2, norms=NORMS, precisions=SEARCH_PRECISIONS,
    batches_itself=True, bounded=True,
)  # fmt: skip
for _name, _entry in {
    "robust": replace(
        _ROBUST,
        summary="cr and pma, then the stages of autoattack on the remaining images: at most the accuracy of autoattack",
        source="cr, pma, and Croce and Hein 2020, arXiv 2003.01690",
        params={"version": "robust"},
    ),
    "robust-fast": replace(
        _ROBUST,
        summary="cr and pma: an upper bound of the accuracy under robust, with far fewer passes",
        source="cr, and Xie et al. 2025, arXiv 2411.15210",
        uses_gradient=True,
        strength=2,
        params={"version": "robust-fast"},
    ),
    "cr": replace(
        _ALONE,
        summary="constraint relaxation: targeted steps that leave the ball and return, from several starts",
        source="Efficient Robustness Evaluation via Constraint Relaxation, AAAI 2025, ojs.aaai.org article 32670",
        function="bench.attacks.relaxation_attack:cr",
        cost=ensemble.relaxation_cost,
    ),
    "pma": replace(
        _ALONE,
        summary="two runs of 100 steps on differences of probabilities",
        source="Xie et al. 2025, arXiv 2411.15210",
        function="bench.attacks.margin_attack:pma",
        cost=ensemble.margin_cost,
    ),
}.items():
    ATTACKS.register(_name, _entry, origin=ORIGIN)
ATTACKS.register(
    "autoattack-rand",
    AttackEntry(
        summary="APGD-CE and APGD-DLR with gradients averaged over 20 passes, for randomised models; by pyautoattack",
        source="Croce and Hein 2020, arXiv 2003.01690",
        function=_LIBRARY.function,
        backend=_LIBRARY.distribution,
        uses_gradient=True,
        strength=3,
        params={"version": "rand"},
        cost=ensemble.cost,
        notes=ensemble.notes,
        batches_itself=True,
        draws_by_batch=True,
        reference=_LIBRARY,
    ),
    origin=ORIGIN,
)
