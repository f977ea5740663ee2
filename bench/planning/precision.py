"""Floating-point type in which the attacks search: the one asked for, or the choice of ``auto`` on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.attacks.registry import ResolvedAttack
from bench.core.specs import Precision

AskedPrecision = Literal["auto", "fp32", "bf16"]


def at_precision(attacks: Sequence[ResolvedAttack], asked: AskedPrecision, device: str) -> list[ResolvedAttack]:
    """The attacks with the type they search in, which is part of what a cell is: ``auto`` is settled here.

    It is bf16 for the attacks that can, where ``device`` has hardware for it. Raises BenchError for an attack that
    cannot do what was asked for by name. Imports torch for ``auto``.
    """
    if asked != "auto":
        return [attack.at(asked) for attack in attacks]
    best = _best(device)
    return [attack.at(best if best in attack.entry.precisions else "fp32") for attack in attacks]


def _best(device: str) -> Precision:
    from bench.runtime.environment import choose_device, has_bfloat16

    return "bf16" if has_bfloat16(choose_device(device)) else "fp32"
