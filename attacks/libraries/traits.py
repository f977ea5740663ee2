"""Traits of the attacks of other libraries, which the libraries do not state in a form that a program can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.core.specs import Norm, Scalar


@dataclass(frozen=True, kw_only=True)
class LibraryAttack:
    """One attack of a library.

    An attack with ``minimal_norm`` searches for the nearest adversarial image. All others search in the ball of radius
    ε. ``passes`` are parameters with their defaults in the library, and other factors. Their product is the approximate
    number of forward passes per image, and of backward passes if the attack makes any.
    """

    norms: tuple[Norm, ...]
    minimal_norm: bool = False
    uses_gradient: bool = True  # every adversarial image is found along gradients
    mixed: bool = False  # an ensemble of attacks with and without gradients
    passes: tuple[tuple[str, int], ...] = ()
    eps: str = "eps"  # parameter of the library that gets ε; empty if there is none
    norm: str = ""  # parameter of the library that gets the norm; empty if there is none

    def number_of_passes(self, params: Mapping[str, Scalar]) -> int:
        """Return the approximate number of forward passes per image with the parameters ``params``."""
        product = 1
        for name, default in self.passes:
            value = params.get(name, default)
            product *= max(1, int(value)) if isinstance(value, int | float) else default
        return product


def in_ball(
    *norms: Norm, eps: str = "eps", norm: str = "", gradient: bool = True, mixed: bool = False, **passes: int
) -> LibraryAttack:
    """Describe an attack that searches in the ball of radius ε."""
    parts = tuple(passes.items())
    return LibraryAttack(
        norms=norms, uses_gradient=gradient and not mixed, mixed=mixed, passes=parts, eps=eps, norm=norm
    )


def nearest(*norms: Norm, eps: str = "", norm: str = "", gradient: bool = True, **passes: int) -> LibraryAttack:
    """Describe an attack that searches for the nearest adversarial image."""
    parts = tuple(passes.items())
    return LibraryAttack(norms=norms, minimal_norm=True, uses_gradient=gradient, passes=parts, eps=eps, norm=norm)


@dataclass(frozen=True, kw_only=True)
class AttackLibrary:
    """A library of attacks. ``excluded`` are attacks of the library that cannot be a row, with the reason."""

    title: str
    distribution: str  # name of the installed distribution
    requirement: str  # what pip installs
    module: str  # imported when first used
    source: str
    attacks: Mapping[str, LibraryAttack]
    adapter: str  # module with the functions ``signature`` and ``run``
    excluded: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()  # parameters that the adapter sets
