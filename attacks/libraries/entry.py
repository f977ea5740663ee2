"""Registry entries of the attacks of other libraries. Without torch and without the libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

from bench.attacks.libraries.names import LIBRARIES, LibraryName, parse
from bench.attacks.registry import AttackEntry, Cost
from bench.core.specs import Scalar

LIBRARY_VERSION = 1  # incremented when the results of an adapter may change
FUNCTION = "bench.attacks.libraries.call:library_attack"
CALLS_BESIDE_STEPS = 2  # passes at the start and at the end of an attack


def library_entry(name: str) -> tuple[LibraryName, AttackEntry]:
    """Return the parsed name and the entry of an attack of a library. Raises BenchError as :func:`parse`."""
    parsed = parse(name)
    return parsed, _entry(parsed.canonical)


@cache
def _entry(canonical: str) -> AttackEntry:
    """Return the same entry at every call, so that resolved attacks of one name are equal."""
    parsed = parse(canonical)
    library, described = LIBRARIES[parsed.library], parsed.described
    return AttackEntry(
        summary=summary_of(parsed),
        source=library.source,
        function=FUNCTION,
        norms=described.norms,
        version=LIBRARY_VERSION,
        backend=library.distribution,
        uses_gradient=described.uses_gradient,
        minimal_norm=described.minimal_norm,
        arguments=partial(_arguments, canonical),
        cost=_cost(parsed),
        notes=_notes(parsed),
        draws_by_batch=True,
    )


def summary_of(parsed: LibraryName) -> str:
    """Describe the attack in one line: its library, kind and norms."""
    described = parsed.described
    kind = "nearest adversarial image" if described.minimal_norm else "adversarial image in the ball"
    gradient = "" if described.uses_gradient else ", without gradients"
    return f"{' '.join(described.norms)}: {kind}{gradient}; by {LIBRARIES[parsed.library].title}"


def _arguments(canonical: str, params: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Return the arguments of the call: the name alone, which contains the parameters."""
    return {"name": canonical}


def _cost(parsed: LibraryName) -> Callable[[Mapping[str, Scalar], int], Cost]:
    described = parsed.described

    def cost(params: Mapping[str, Scalar], num_classes: int) -> Cost:
        passes = described.number_of_passes(params) + CALLS_BESIDE_STEPS
        backwards = passes if described.uses_gradient or described.mixed else 0
        return Cost(passes, backwards, 1, min(1, backwards))

    return cost


def _notes(parsed: LibraryName) -> Callable[[Mapping[str, Scalar], int], tuple[str, ...]]:
    title, minimal_norm = LIBRARIES[parsed.library].title, parsed.described.minimal_norm

    def notes(params: Mapping[str, Scalar], num_classes: int) -> tuple[str, ...]:
        outside = "; images whose nearest adversarial image lies outside the ball count as correct"
        return (f"computed by {title}{outside if minimal_norm else ''}",)

    return notes
