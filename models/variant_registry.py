"""Registry of variants. A name such as ``lpc+pgd_at`` combines the definitions of several registered variants.

The combination has every field that one of its parts sets, that is, whose value is not the default of VariantSpec. Two
parts may set the same field only to the same value. The order of the parts has no influence: the name is shown with the
parts in alphabetical order.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from bench.core.errors import BenchError
from bench.core.registry import Registry
from bench.core.specs import VariantSpec

ORIGIN = "bench.models.variants"  # of all built-in variants
JOINED_BY = "+"


@dataclass(frozen=True, kw_only=True)
class VariantEntry:
    """A variant. ``collapses`` is True if its loss is meant to collapse the latents of each class to a point.

    Tables mark runs of such a variant that did not collapse. The default is True for variants with a penalty and False
    for all others. Set ``collapses`` for a method that collapses latents by a term or a criterion.
    """

    summary: str
    source: str
    spec: VariantSpec
    collapses: bool | None = None

    @property
    def has_collapse_penalty(self) -> bool:
        """True if the loss is meant to collapse the latents: ``collapses``, by default whether it has a penalty."""
        return self.spec.penalty is not None if self.collapses is None else self.collapses


class VariantRegistry(Registry[VariantEntry]):
    """Registry of variants, which also finds combinations of its entries."""

    def register(self, name: str, entry: VariantEntry, *, origin: str) -> None:
        """Add ``entry``. Raises BenchError for a name that is not allowed or already registered."""
        if JOINED_BY in name:
            raise BenchError(
                f"variant name {name!r} (from {origin}) contains {JOINED_BY!r}, which combines variants; "
                f"call it {name.replace(JOINED_BY, '_')!r}."
            )
        super().register(name, entry, origin=origin)

    def get(self, name: str) -> VariantEntry:
        """Return the entry ``name``, or the combination of its parts.

        Raises BenchError for an unknown name, for parts that set one field to different values, and for a part that
        adds nothing to the others.
        """
        parts = _parts(name)
        if len(parts) == 1:
            return super().get(name)
        entries = {part: super(VariantRegistry, self).get(part) for part in parts}
        spec = _merged(name, {part: entry.spec for part, entry in entries.items()})
        for part in parts:
            others = {other: entry.spec for other, entry in entries.items() if other != part}
            if _merged(name, others) == spec:  # it would be trained twice, under two names
                same = JOINED_BY.join(others)
                raise BenchError(f"variant {name!r} is the same as {same!r}; write {same!r}.")
        return VariantEntry(
            summary="; ".join(f"{part}: {entry.summary}" for part, entry in entries.items()),
            source="; ".join(dict.fromkeys(entry.source for entry in entries.values())),
            spec=spec,
            collapses=any(entry.has_collapse_penalty for entry in entries.values()),
        )

    def origin(self, name: str) -> str:
        """Return the module or file that registered the entry; of a combination, a file of a plug-in if one did."""
        origins = [super(VariantRegistry, self).origin(part) for part in _parts(name)]
        return next((origin for origin in origins if origin != ORIGIN), ORIGIN)

    def expand(self, pattern: str) -> list[str]:
        """Return the sorted names that match a shell wildcard. Raises BenchError if no name matches.

        In a combination, each part is a pattern: ``lpc*+pgd_at`` matches ``lpc+pgd_at`` and ``lpc_wide+pgd_at``. Parts
        that cannot be combined are left out.
        """
        matches = [super(VariantRegistry, self).expand(part) for part in pattern.split(JOINED_BY)]
        if len(matches) == 1:
            return matches[0]
        joined = sorted({canonical_name(JOINED_BY.join(parts)) for parts in itertools.product(*matches)})
        names = [name for name in joined if name in self]
        if not names:
            raise BenchError(
                f"no combination of variants matches {pattern!r}: the parts that match set a field to different "
                "values, or add nothing to each other. Name a head, a penalty and a training method, as in lpc+pgd_at."
            )
        return names

    def __contains__(self, name: str) -> bool:
        if JOINED_BY not in name:
            return super().__contains__(name)
        try:
            self.get(name)
        except BenchError:
            return False
        return True


def canonical_name(name: str) -> str:
    """Return the name with its parts in alphabetical order.

    >>> canonical_name("pgd_at+lpc")
    'lpc+pgd_at'
    """
    return JOINED_BY.join(sorted(name.split(JOINED_BY)))


def _parts(name: str) -> list[str]:
    """Return the parts of a name in alphabetical order. Raises BenchError for a part that is empty or occurs twice."""
    parts = sorted(name.split(JOINED_BY))
    if len(parts) > 1 and not all(parts):
        raise BenchError(f"variant {name!r} has an empty part; write names on both sides of {JOINED_BY!r}.")
    twice = next((part for part, following in itertools.pairwise(parts) if part == following), None)
    if twice is not None:
        raise BenchError(f"variant {name!r} contains {twice!r} twice; write it once.")
    return parts


def _merged(name: str, specs: dict[str, VariantSpec]) -> VariantSpec:
    """Return the combination of ``specs``, by part. Raises BenchError if two of them set a field differently."""
    default = VariantSpec()
    values: dict[str, Any] = {}
    owners: dict[str, str] = {}  # parts that set the values
    for part, spec in specs.items():
        for field in dataclasses.fields(VariantSpec):
            value = getattr(spec, field.name)
            if value == getattr(default, field.name):
                continue
            if field.name in values and values[field.name] != value:
                raise BenchError(
                    f"variant {name!r} cannot be combined: {owners[field.name]!r} sets {field.name} to "
                    f"{_shown(values[field.name])}, and {part!r} to {_shown(value)}; leave one of them out."
                )
            values[field.name], owners[field.name] = value, part
    return VariantSpec(**values)


def _shown(value: object) -> str:
    """Return a value for a message; of a nested spec, only the fields that differ from their default."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return repr(value)
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    set_fields = (f"{f.name}={fields[f.name]!r}" for f in dataclasses.fields(value) if fields[f.name] != f.default)
    return f"{type(value).__name__}({', '.join(set_fields)})"


VARIANTS = VariantRegistry("variant")


def shown_name(name: str) -> str:
    """Return the name of a registered variant or combination as tables show it, and any other name unchanged."""
    return canonical_name(name) if name in VARIANTS else name


def has_collapse_penalty(name: str, spec: VariantSpec) -> bool:
    """Return ``collapses`` of the registered variant ``name`` or, if it is None, whether ``spec`` has a penalty.

    >>> from bench.models.variants import VARIANTS
    >>> [has_collapse_penalty(name, VARIANTS.get(name).spec) for name in ("lpc", "l1_pen", "lin_pen", "lpc+pgd_at")]
    [True, False, False, True]
    """
    declared = VARIANTS.get(name).collapses if name in VARIANTS else None
    return VariantEntry(summary="", source="", spec=spec, collapses=declared).has_collapse_penalty
