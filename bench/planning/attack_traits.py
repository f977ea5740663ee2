"""Traits of attacks that decide an audit's flags, and the stored traits of attacks from plug-ins.

The traits of a built-in attack are constant. Those of a plug-in's attack are known only if the plug-in is loaded, and
may change. Therefore an audit stores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.attacks import builtin as builtin  # fills the registry
from bench.attacks.registry import entry_of
from bench.core.records import AttackTraits, AuditRecord, EvalRecord
from bench.core.specs import AttackSpec

Traits = Mapping[str, AttackTraits]  # by name of an attack that a plug-in registered


def traits_of(attack: AttackSpec, stored: Traits) -> AttackTraits | None:
    """Return the traits of the attack of a stored cell; None if they are not known.

    For an attack whose plug-in is not loaded, they are those in ``stored``.
    """
    entry = entry_of(attack)
    if entry is not None:
        return AttackTraits(entry.uses_gradient, entry.family)
    return stored.get(attack.name) if attack.code_sha else None


def plugin_traits(cells: Iterable[EvalRecord], stored: Traits) -> Traits:
    """Return the known traits of all attacks of ``cells`` that plug-ins registered; empty without such attacks."""
    attacks = {a.name: a for cell in cells if (a := cell.spec.attack) is not None and a.code_sha}
    known = {name: traits_of(attack, stored) for name, attack in sorted(attacks.items())}
    return {name: traits for name, traits in known.items() if traits is not None}


def traits_changed(cells: Iterable[EvalRecord], record: AuditRecord) -> bool:
    """Return whether a loaded plug-in declares other traits than the audit ``record`` of ``cells`` depended on."""
    return plugin_traits(cells, record.traits) != record.traits
