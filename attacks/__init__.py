"""Attacks: pure functions ``attack(model, inputs, labels, *, spec, rng) -> adversarial images``.

Importing this package builds nothing and imports no torch; :mod:`attacks.registry` holds the table.
"""
