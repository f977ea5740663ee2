"""Attacks on classifiers of adversarial-library 0.2 (Rony and Ben Ayed, github.com/jeromerony/adversarial-library)."""

from __future__ import annotations

from bench.attacks.libraries.traits import AttackLibrary, LibraryAttack, in_ball, nearest

_L0 = "its norm is L0"

ATTACKS: dict[str, LibraryAttack] = {
    "pgd_linf": in_ball("linf", eps="ε", steps=40, restarts=1),
    "apgd": in_ball("linf", "l2", "l1", norm="norm", n_iter=100, n_restarts=1, eot_iter=1),
    "apgd_targeted": in_ball("linf", "l2", "l1", norm="norm", n_iter=100, targets=9, n_restarts=1, eot_iter=1),
    "alma": nearest("l2", "l1", norm="distance", num_steps=1000),
    "carlini_wagner_l2": nearest("l2", binary_search_steps=9, max_iterations=10000),
    "carlini_wagner_linf": nearest("linf", max_iterations=1000, constants=30),
    "ddn": nearest("l2", steps=100),
    "df": nearest("linf", "l2", norm="norm", steps=100, classes=10),
    "fab": nearest("linf", "l2", "l1", norm="norm", n_iter=100, classes=10),
    "fmn": nearest("linf", "l2", "l1", norm="norm", steps=10),
    "pdgd": nearest("l2", num_steps=500),
    "pdpgd": nearest("linf", "l2", "l1", norm="norm", num_steps=500),
    "sdf": nearest("l2", steps=100, classes=10),
    "tr": nearest("linf", "l2", norm="p", iter=100, classes=10),
}

ADVLIB = AttackLibrary(
    title="adversarial-library",
    distribution="adv-lib",
    requirement="adv-lib>=0.2.2",
    module="adv_lib",
    source="Rony and Ben Ayed, github.com/jeromerony/adversarial-library",
    attacks=ATTACKS,
    adapter="bench.attacks.libraries.advlib_adapter",
    excluded={
        "fga": _L0,
        "perc_al": "its distance is a difference of colours",
        "sigma_zero": _L0,
        "str_attack": "its distance is a sum over groups of pixels",
        "vfga": _L0,
    },
    given=frozenset({"model", "inputs", "labels", "targeted", "callback", "return_unsuccessful", "return_targets"}),
)
