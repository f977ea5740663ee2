"""Attacks: pure functions ``attack(model, inputs, labels, *, spec, rng) -> adversarial images``.

Importing this package fills the table :data:`attacks.registry.ATTACKS`; it builds nothing and imports no torch.
"""

from attacks import builtin
from attacks.registry import ATTACKS, AttackEntry, Cost, resolve, resolve_all

__all__ = ["ATTACKS", "AttackEntry", "Cost", "builtin", "resolve", "resolve_all"]
