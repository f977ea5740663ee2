"""The registry of corruptions: a name, its family, its source, its function and its constants."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile
from bench.core.errors import BenchError, unknown_name
from bench.core.registry import NONE, Registry, is_none, is_pattern
from bench.core.words import join

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks.corruptions.draws import Draws

Family = Literal["noise", "blur", "weather", "digital"]

FAMILIES: Final[tuple[Family, ...]] = ("noise", "blur", "weather", "digital")


class Corruption(Protocol):
    """Signature and contract of a corruption.

    ``images`` is (N, H, W, C), uint8, C = 1 or 3; ``constants`` are those of its entry for one profile and severity:
    see :func:`parameters`. The result has the shape of ``images``: uint8, or float32 on the scale
    of 255, which the caller clips and truncates. ``images`` are not modified. All randomness comes from ``draws``.
    """

    def __call__(self, images: NDArray[np.uint8], constants: Any, draws: Draws) -> NDArray[Any]: ...


@dataclass(frozen=True, kw_only=True)
class CorruptionEntry:
    """A declaration.

    ``constants`` hold five values by profile, one per severity: numbers, or named tuples, of which the fields that end
    in ``_px`` are lengths in pixels and grow with the image. With a single profile, its constants serve all of them.
    """

    summary: str
    source: str
    family: Family
    function: str | Corruption  # "module:function", imported when first used, or the function itself
    constants: Mapping[Profile, Sequence[Any]] = field(repr=False)
    standard: bool = False  # one of the fifteen that are averaged over; the other four are for validation
    random: bool = False  # draws random numbers
    stand_in: str = ""  # "module:function" for where the photographs that ``function`` needs are not installed
    version: int = 1  # changes when its images may

    def __post_init__(self) -> None:
        """Raise BenchError for an unknown family or profile, and for another number of constants than five."""
        if self.family not in FAMILIES:
            raise BenchError(f"unknown family {self.family!r} of a corruption; there are {join(FAMILIES)}.")
        if not self.constants:
            raise BenchError("a corruption needs the constants of one profile at least, five of them.")
        for profile, values in self.constants.items():
            if profile not in PROFILE_SIZES:
                raise BenchError(f"unknown profile {profile!r} of constants; there are {join(list(PROFILE_SIZES))}.")
            if len(values) != len(SEVERITY_LEVELS):
                raise BenchError(f"profile {profile!r} has {len(values)} constants; it needs one per severity, five.")


class CorruptionRegistry(Registry[CorruptionEntry]):
    """Corruptions by name."""

    def register(self, name: str, entry: CorruptionEntry, *, origin: str) -> None:
        """Add ``entry``. Raises BenchError for a reserved name, and for a plug-in's that claims to be standard."""
        if name in (*FAMILIES, *SETS, NONE):
            raise BenchError(f"corruption {name!r} (from {origin}) has the name of a family or a set; choose another.")
        if entry is not None and entry.standard and origin != BUILTIN:
            raise BenchError(f"corruption {name!r} (from {origin}) is none of the fifteen standard ones; leave it out.")
        super().register(name, entry, origin=origin)


BUILTIN: Final = "bench.attacks.corruptions.builtin"  # the origin of the corruptions that come with the project

CORRUPTIONS = CorruptionRegistry("corruption")

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
    address = entry.stand_in if entry.stand_in and not files_sha else entry.function
    if not isinstance(address, str):
        return address
    module, _, attribute = address.partition(":")
    function: Corruption = getattr(importlib.import_module(module), attribute)
    return function


def parameters(kind: str, severity: int, profile: Profile, size: int) -> Any:
    """Return the constants of ``kind`` for images whose shorter side is ``size``: lengths grow with the image.

    A whole number of pixels stays one, and is at least 1 where it was. Raises BenchError for a profile that it lacks.
    """
    constants = CORRUPTIONS.get(kind).constants
    if len(constants) == 1:
        (profile,) = constants
    if profile not in constants:
        known = join(list(constants), "or")
        raise BenchError(f"corruption {kind!r} has no constants of profile {profile!r}; it has those of {known}.")
    found, factor = constants[profile][severity - 1], size / PROFILE_SIZES[profile]
    if factor == 1 or not hasattr(found, "_asdict"):
        return found
    return type(found)(*(_scaled(name, value, factor) for name, value in found._asdict().items()))


def _scaled(name: str, value: float, factor: float) -> float:
    if not name.endswith("_px"):
        return value
    return max(1, round(value * factor)) if name.startswith("max_") else value * factor
