"""The table of corruptions: a name, its family, its source, and where its function lies."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from bench.attacks.corruptions import photographs
from bench.core.errors import BenchError, unknown_name
from bench.core.registry import NONE, Registry, is_none, is_pattern

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks.corruptions.draws import Draws

Family = Literal["noise", "blur", "weather", "digital"]

FAMILIES: Final[tuple[Family, ...]] = ("noise", "blur", "weather", "digital")


class Corruption(Protocol):
    """Signature and contract of a corruption.

    ``images`` is (N, H, W, C), uint8, C = 1 or 3; ``constants`` is one of the tuples of
    :mod:`bench.attacks.corruptions.severities`. The result has the shape of ``images``: uint8, or float32 on the scale
    of 255, which the caller clips and truncates. ``images`` are not modified. All randomness comes from ``draws``.
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
    stand_in: str = ""  # "module:function" for where the photographs that ``function`` needs are not installed
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


def files_sha_of(name: str) -> str:
    """Hash of the photographs that the corruption is made with on this machine; "" if it needs none or has none."""
    return photographs.FILES_SHA if CORRUPTIONS.get(name).stand_in and photographs.installed() else ""


def can_make(name: str, files_sha: str) -> bool:
    """Whether the corruption can be made here of the files of that hash, "" for none."""
    return files_sha in ("", files_sha_of(name))


def load_corruption(name: str, files_sha: str) -> Corruption:
    """The function that makes the corruption of the files of that hash, "" for none.

    Raises BenchError when it is not made of such files, or when they are not installed.
    """
    entry = CORRUPTIONS.get(name)
    if files_sha:
        if not entry.stand_in or files_sha != photographs.FILES_SHA:
            raise BenchError(f"{name} cannot be made of the files {files_sha}; compute the cells again.")
        photographs.required()
    module, _, attribute = (entry.function if files_sha or not entry.stand_in else entry.stand_in).partition(":")
    function: Corruption = getattr(importlib.import_module(module), attribute)
    return function
