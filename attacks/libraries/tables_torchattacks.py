"""Attacks of torchattacks 3.5 (Kim 2020, arXiv 2010.01950)."""

from __future__ import annotations

from bench.attacks.libraries.traits import AttackLibrary, LibraryAttack, in_ball, nearest

_L0 = "its norm is L0"

ATTACKS: dict[str, LibraryAttack] = {
    "FGSM": in_ball("linf"),
    "FFGSM": in_ball("linf"),
    "RFGSM": in_ball("linf", steps=10),
    "BIM": in_ball("linf", steps=10),
    "PGD": in_ball("linf", steps=10),
    "PGDL2": in_ball("l2", steps=10),
    "PGDRS": in_ball("linf", steps=10, noise_batch_size=5),
    "PGDRSL2": in_ball("l2", steps=10, noise_batch_size=5),
    "EOTPGD": in_ball("linf", steps=10, eot_iter=2),
    "TPGD": in_ball("linf", steps=10),
    "UPGD": in_ball("linf", steps=10, eot_iter=1),
    "MIFGSM": in_ball("linf", steps=10),
    "NIFGSM": in_ball("linf", steps=10),
    "SINIFGSM": in_ball("linf", steps=10, m=5),
    "VMIFGSM": in_ball("linf", steps=10, N=5),
    "VNIFGSM": in_ball("linf", steps=10, N=5),
    "DIFGSM": in_ball("linf", steps=10),
    "TIFGSM": in_ball("linf", steps=10),
    "PIFGSM": in_ball("linf", eps="max_epsilon", num_iter_set=10),
    "PIFGSMPP": in_ball("linf", eps="max_epsilon", num_iter_set=10),
    "Jitter": in_ball("linf", steps=10),
    "SPSA": in_ball("linf", gradient=False, nb_iter=1, nb_sample=128, sides=2),
    "APGD": in_ball("linf", "l2", norm="norm", steps=10, n_restarts=1, eot_iter=1),
    "APGDT": in_ball("linf", "l2", norm="norm", steps=10, targets=9, n_restarts=1, eot_iter=1),
    "Square": in_ball("linf", "l2", norm="norm", gradient=False, n_queries=5000, n_restarts=1),
    "AutoAttack": in_ball("linf", "l2", norm="norm", mixed=True, passes=9000),
    "FAB": nearest("linf", "l2", eps="eps", norm="norm", steps=10, classes=10, n_restarts=1),
    "CW": nearest("l2", steps=50),
    "DeepFool": nearest("l2", steps=50, classes=10),
    "EADL1": nearest("l1", binary_search_steps=9, max_iterations=100),
    "EADEN": nearest("l1", binary_search_steps=9, max_iterations=100),
}

TORCHATTACKS = AttackLibrary(
    title="torchattacks",
    distribution="torchattacks",
    requirement="torchattacks>=3.5.1",
    module="torchattacks",
    source="Kim 2020, arXiv 2010.01950",
    attacks=ATTACKS,
    adapter="bench.attacks.libraries.torchattacks_adapter",
    excluded={
        "GN": "it adds noise without a budget",
        "JSMA": _L0,
        "LGV": "it trains surrogate networks",
        "MultiAttack": "its parameters are attacks",
        "OnePixel": _L0,
        "Pixle": _L0,
        "SparseFool": _L0,
        "VANILA": "it returns the clean images",
    },
    given=frozenset({"model", "n_classes", "seed", "verbose"}),
)
