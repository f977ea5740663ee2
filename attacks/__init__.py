"""Attacks: pure functions ``attack(model, inputs, labels, *, spec, rng) -> adversarial images``.

Importing this package fills the table :data:`bench.attacks.registry.ATTACKS`; it builds nothing and imports no torch.
"""

from bench.attacks import builtin
from bench.attacks.registry import ATTACKS, AttackEntry, Cost, resolve, resolve_all

__all__ = ["ATTACKS", "AttackEntry", "Cost", "builtin", "resolve", "resolve_all"]
