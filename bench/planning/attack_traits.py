"""Traits of attacks that determine the flags of an audit, and stored traits of plug-in attacks.

The traits of a built-in attack are constant. The traits of a plug-in attack are known only if the plug-in is loaded,
and may change. Therefore an audit stores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.attacks import builtin as builtin  # fills the registry
from bench.attacks.registry import entry_of
from bench.core.records import AttackTraits, AuditRecord, EvalRecord
from bench.core.specs import AttackSpec

Traits = Mapping[str, AttackTraits]  # by name of the plug-in attack


def traits_of(attack: AttackSpec, stored: Traits) -> AttackTraits | None:
    """Return the traits of the attack of a stored cell; None if unknown.

    If the plug-in of the attack is not loaded, the traits are read from ``stored``.
    """
    entry = entry_of(attack)
    if entry is not None:
        return AttackTraits(entry.uses_gradient, entry.family)
    return stored.get(attack.name) if attack.code_sha else None


def plugin_traits(cells: Iterable[EvalRecord], stored: Traits) -> Traits:
    """Return the known traits of all plug-in attacks of ``cells``, by name."""
    attacks = {a.name: a for cell in cells if (a := cell.spec.attack) is not None and a.code_sha}
    known = {name: traits_of(attack, stored) for name, attack in sorted(attacks.items())}
    return {name: traits for name, traits in known.items() if traits is not None}


def traits_changed(cells: Iterable[EvalRecord], record: AuditRecord) -> bool:
    """Return whether a loaded plug-in declares other traits than those stored in the audit ``record`` of ``cells``."""
    return plugin_traits(cells, record.traits) != record.traits
