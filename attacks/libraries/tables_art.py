"""Attacks on classifiers of the Adversarial Robustness Toolbox 1.20 (Nicolae et al. 2018, arXiv 1807.01069)."""

from __future__ import annotations

from bench.attacks.libraries.traits import AttackLibrary, LibraryAttack, in_ball, nearest

_PATCH = "it places a patch or a pattern and has no budget in a norm"
_PROBABILITIES = "it needs a model that returns probabilities"
_UNSEEDED = "it draws numbers that no seed determines; foolbox has this attack"
_OTHER = "it is not for classifiers of torch"

ATTACKS: dict[str, LibraryAttack] = {
    "FastGradientMethod": in_ball("linf", "l2", "l1", norm="norm"),
    "BasicIterativeMethod": in_ball("linf", max_iter=100),
    "MomentumIterativeMethod": in_ball("linf", "l2", "l1", norm="norm", max_iter=100),
    "ProjectedGradientDescent": in_ball("linf", "l2", "l1", norm="norm", max_iter=100),
    "ProjectedGradientDescentNumpy": in_ball("linf", "l2", "l1", norm="norm", max_iter=100),
    "ProjectedGradientDescentPyTorch": in_ball("linf", "l2", "l1", norm="norm", max_iter=100),
    "AutoProjectedGradientDescent": in_ball(
        "linf", "l2", "l1", norm="norm", max_iter=100, nb_random_init=5, evaluations=3
    ),
    "AutoConjugateGradient": in_ball("linf", "l2", "l1", norm="norm", max_iter=100, nb_random_init=5, evaluations=3),
    "RescalingAutoConjugateGradient": in_ball(
        "linf", "l2", "l1", norm="norm", max_iter=100, nb_random_init=5, evaluations=3
    ),
    "SquareAttack": in_ball("linf", "l2", norm="norm", gradient=False, max_iter=100, nb_restarts=1, evaluations=3),
    "CarliniL2Method": nearest("l2", binary_search_steps=10, max_iter=10, steps=10),
    "CarliniLInfMethod": nearest("linf", max_iter=10, constants=100),
    "ElasticNet": nearest("l1", binary_search_steps=9, max_iter=100, evaluations=4),
    "DeepFool": nearest("l2", max_iter=100, nb_grads=10),
    "NewtonFool": nearest("l2", max_iter=100, evaluations=2),
    "GeoDA": nearest("linf", "l2", "l1", norm="norm", gradient=False, max_iter=4000),
    "SignOPTAttack": nearest("l2", gradient=False, query_limit=20000, evaluations=2),
    "ZooAttack": nearest("l2", gradient=False, max_iter=10, nb_parallel=128, sides=2),
}

ART = AttackLibrary(
    title="the Adversarial Robustness Toolbox",
    distribution="adversarial-robustness-toolbox",
    requirement="adversarial-robustness-toolbox>=1.20",
    module="art",
    source="Nicolae et al. 2018, arXiv 1807.01069",
    attacks=ATTACKS,
    adapter="bench.attacks.libraries.art_adapter",
    excluded={
        **dict.fromkeys(
            (
                "AdversarialPatch",
                "AdversarialPatchNumpy",
                "AdversarialPatchPyTorch",
                "AdversarialPatchTensorFlowV2",
                "AdversarialTexturePyTorch",
                "GRAPHITEBlackbox",
                "GRAPHITEWhiteboxPyTorch",
                "LaserAttack",
                "ShadowAttack",
                "SpatialTransformation",
                "CompositeAdversarialAttackPyTorch",
            ),
            _PATCH,
        ),
        **dict.fromkeys(
            (
                "CarliniWagnerASR",
                "DPatch",
                "DecisionTreeAttack",
                "HighConfidenceLowUncertainty",
                "ImperceptibleASR",
                "ImperceptibleASRPyTorch",
                "LowProFool",
                "MalwareGDTensorFlow",
                "OverTheAirFlickeringPyTorch",
                "OverloadPyTorch",
                "ProjectedGradientDescentTensorFlowV2",
                "RobustDPatch",
                "SNAL",
            ),
            _OTHER,
        ),
        **dict.fromkeys(("CarliniL0Method", "PixelAttack", "SaliencyMapMethod"), "its norm is L0"),
        **dict.fromkeys(("BoundaryAttack", "HopSkipJump"), _UNSEEDED),
        "BrendelBethgeAttack": "it draws numbers that no seed determines",
        **dict.fromkeys(("SimBA", "VirtualAdversarialMethod"), _PROBABILITIES),
        "AutoAttack": "it needs the optional library multiprocess; the attack autoattack of this program does not",
        "FeatureAdversariesNumpy": "it needs guide images",
        "FeatureAdversariesPyTorch": "it needs guide images",
        "FeatureAdversariesTensorFlowV2": "it needs guide images",
        "FrameSaliencyAttack": "its parameters are attacks",
        "TargetedUniversalPerturbation": "it is targeted only",
        "ThresholdAttack": "it needs the optional library cma",
        "UniversalPerturbation": "its perturbation is the same for all images of a batch",
        "Wasserstein": "its budget is a Wasserstein distance",
    },
    given=frozenset({"estimator", "classifier", "batch_size", "summary_writer", "targeted", "verbose"}),
)
