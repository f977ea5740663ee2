"""The table of corruptions: a name, its family, its source, and where its function lies."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from bench.core.errors import unknown_name
from bench.core.registry import NONE, Registry, is_none, is_pattern

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from attacks.corruptions.draws import Draws

Family = Literal["noise", "blur", "weather", "digital"]

FAMILIES: Final[tuple[Family, ...]] = ("noise", "blur", "weather", "digital")


class Corruption(Protocol):
    """What every corruption is.

    ``images`` is (N, H, W, C), uint8, C = 1 or 3; ``constants`` one of the tuples of
    :mod:`attacks.corruptions.severities`. The result has the shape of ``images``: uint8, or float32 on the scale of
    255, which the caller clips and cuts off. ``images`` are left as they are. All chance comes from ``draws``.
    """

    def __call__(self, images: NDArray[np.uint8], constants: Any, draws: Draws) -> NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True)
class CorruptionEntry:
    """A declaration."""

    summary: str
    family: Family
    function: str  # "module:function", imported when first used
    standard: bool = True  # one of the fifteen that are averaged over; the other four are for validation
    random: bool = False  # draws random numbers
    synthetic: str = ""  # what stands in for something that the published files were made with
    version: int = 1  # changes when its images may


CORRUPTIONS: Registry[CorruptionEntry] = Registry("corruption")

SETS: Final = ("standard", "all")


def resolve_kinds(patterns: Collection[str]) -> list[str]:
    """Names, wildcards, families, ``standard`` and ``all``, or ``none`` alone, to names, in the registry's order.

    Raises BenchError for what is none of these, and for an empty list.
    """
    if is_none("corruption", patterns):
        return []
    wanted: set[str] = set()
    for pattern in patterns:
        wanted |= set(_kinds(pattern))
    return [name for name in CORRUPTIONS if name in wanted]


def _kinds(pattern: str) -> list[str]:
    if pattern in SETS:
        return [name for name in CORRUPTIONS if pattern == "all" or is_standard(name)]
    if pattern in FAMILIES:
        return [name for name in CORRUPTIONS if CORRUPTIONS.get(name).family == pattern]
    if is_pattern(pattern):
        return CORRUPTIONS.expand(pattern)
    if pattern not in CORRUPTIONS:
        known = [*CORRUPTIONS, *SETS, NONE, *FAMILIES]
        raise unknown_name("corruption", pattern, known, hint="See 'bench list corruptions'.")
    return [pattern]


def is_standard(name: str) -> bool:
    return CORRUPTIONS.get(name).standard


def load_corruption(entry: CorruptionEntry) -> Corruption:
    module, _, attribute = entry.function.partition(":")
    function: Corruption = getattr(importlib.import_module(module), attribute)
    return function
