"""Attacks of foolbox 3.3 (Rauber et al. 2020, doi 10.21105/joss.02607)."""

from __future__ import annotations

from bench.attacks.libraries.traits import AttackLibrary, LibraryAttack, in_ball, nearest
from bench.core.specs import Norm

_LEAVES_BALL = "foolbox scales its noise by the largest positive pixel, not by the largest, so that it leaves the ball"
ALL: tuple[Norm, ...] = ("linf", "l2", "l1")
NORMS: dict[str, Norm] = {"Linf": "linf", "L2": "l2", "L1": "l1"}


def _gradient_steps() -> dict[str, LibraryAttack]:
    """Describe the attacks by projected gradient steps, which foolbox has in three norms."""
    found: dict[str, LibraryAttack] = {}
    for prefix, norm in NORMS.items():
        pgd_steps = 40 if norm == "linf" else 50
        found |= {
            f"{prefix}FastGradientAttack": in_ball(norm, eps=""),
            f"{prefix}BasicIterativeAttack": in_ball(norm, eps="", steps=10),
            f"{prefix}AdamBasicIterativeAttack": in_ball(norm, eps="", steps=10),
            f"{prefix}MomentumIterativeFastGradientMethod": in_ball(norm, eps="", steps=10),
            f"{prefix}ProjectedGradientDescentAttack": in_ball(norm, eps="", steps=pgd_steps),
            f"{prefix}AdamProjectedGradientDescentAttack": in_ball(norm, eps="", steps=50),
        }
    return found


def _noise() -> dict[str, LibraryAttack]:
    """Describe the attacks by random noise."""
    single, repeated = in_ball("l2", eps="", gradient=False), in_ball("l2", eps="", gradient=False, repeats=100)
    found = {}
    for kind in ("Gaussian", "Uniform"):
        for prefix in ("L2", "L2ClippingAware"):
            found[f"{prefix}Additive{kind}NoiseAttack"] = single
            found[f"{prefix}RepeatedAdditive{kind}NoiseAttack"] = repeated
    return found


def _any_distance(name: str = "", number: int = 1) -> LibraryAttack:
    """Describe a search for the nearest image in any norm, with the parameter that has its number of passes."""
    passes = ((name, number),) if name else ()
    return LibraryAttack(norms=ALL, norm="distance", eps="", minimal_norm=True, uses_gradient=False, passes=passes)


ATTACKS: dict[str, LibraryAttack] = {
    **_gradient_steps(),
    **_noise(),
    "SparseL1DescentAttack": in_ball("l1", eps="", steps=10),
    "L2ContrastReductionAttack": in_ball("l2", eps="", gradient=False),
    "VirtualAdversarialAttack": in_ball("l2", eps="", steps=1),
    "DDNAttack": nearest("l2", steps=100),
    "EADAttack": nearest("l1", binary_search_steps=9, steps=10000),
    "L2CarliniWagnerAttack": nearest("l2", binary_search_steps=9, steps=10000),
    "L2DeepFoolAttack": nearest("l2", steps=50, candidates=10),
    "LinfDeepFoolAttack": nearest("linf", steps=50, candidates=10),
    "NewtonFoolAttack": nearest("l2", steps=100),
    "L1FMNAttack": nearest("l1", steps=100),
    "L2FMNAttack": nearest("l2", steps=100),
    "LInfFMNAttack": nearest("linf", steps=100),
    "BoundaryAttack": nearest("l2", gradient=False, steps=25000),
    "HopSkipJumpAttack": nearest(
        "linf", "l2", norm="constraint", gradient=False, steps=64, initial_gradient_eval_steps=100, growth=5
    ),
    "PointwiseAttack": nearest("l2", gradient=False, pixels=3000),
    "SaltAndPepperNoiseAttack": nearest("l2", gradient=False, steps=1000),
    "BinarySearchContrastReductionAttack": _any_distance("binary_search_steps", 15),
    "LinearSearchContrastReductionAttack": _any_distance("steps", 1000),
    "LinearSearchBlendedUniformNoiseAttack": _any_distance("steps", 1000),
    "GaussianBlurAttack": _any_distance("steps", 1000),
    "InversionAttack": _any_distance(),
}

FOOLBOX = AttackLibrary(
    title="foolbox",
    distribution="foolbox",
    requirement="foolbox>=3.3.4",
    module="foolbox",
    source="Rauber et al. 2020, doi 10.21105/joss.02607",
    attacks=ATTACKS,
    adapter="bench.attacks.libraries.foolbox_adapter",
    excluded={
        "BinarizationRefinementAttack": "it refines the images of another attack",
        "DatasetAttack": "it needs images of the other classes",
        "GenAttack": "it is targeted only",
        "L0BrendelBethgeAttack": "its norm is L0",
        **dict.fromkeys(
            ("L1BrendelBethgeAttack", "L2BrendelBethgeAttack", "LinfinityBrendelBethgeAttack"),
            "its compiled search did not end in a trial of eight minutes on four images",
        ),
        "L0FMNAttack": "its norm is L0",
        "LinfAdditiveUniformNoiseAttack": _LEAVES_BALL,
        "LinfRepeatedAdditiveUniformNoiseAttack": _LEAVES_BALL,
        "SpatialAttack": "it rotates and moves images and has no budget in a norm",
    },
    aliases={
        "AdamPGD": "LinfAdamProjectedGradientDescentAttack",
        "FGM": "L2FastGradientAttack",
        "FGSM": "LinfFastGradientAttack",
        "MIFGSM": "LinfMomentumIterativeFastGradientMethod",
        "PGD": "LinfProjectedGradientDescentAttack",
        **{f"{norm}PGD": f"{norm}ProjectedGradientDescentAttack" for norm in NORMS},
        **{f"{norm}AdamPGD": f"{norm}AdamProjectedGradientDescentAttack" for norm in NORMS},
    },
    given=frozenset({"distance", "constraint", "init_attack", "tensorboard", "args", "kwargs"}),
)
