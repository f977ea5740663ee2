"""Registry of corruptions: the name, family, source, function and constants of each."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile
from bench.core.errors import BenchError, unknown_name
from bench.core.names import file_name_problem
from bench.core.paths import shown
from bench.core.registry import NONE, Registry, is_none, is_pattern
from bench.core.words import join

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.attacks.corruptions.draws import Draws

Family = Literal["noise", "blur", "weather", "digital"]

#: Names of other files of a set of corrupted images, without their suffix.
OTHER_FILES: Final = frozenset({"labels", "manifest", "claims"})

FAMILIES: Final[tuple[Family, ...]] = ("noise", "blur", "weather", "digital")


class Corruption(Protocol):
    """Signature and contract of a corruption.

    ``images`` is (N, H, W, C), uint8, C = 1 or 3. ``constants`` are the constants of the entry for one profile and
    severity: see :func:`parameters`. The result has the shape of ``images``: uint8, or float32 from 0 to 255, which the
    caller clips and truncates. ``images`` are not modified. All randomness comes from ``draws``.
    """

    def __call__(self, images: NDArray[np.uint8], constants: Any, draws: Draws, /) -> NDArray[Any]:
        """Return the corrupted images, (N, H, W, C)."""


@dataclass(frozen=True, kw_only=True)
class CorruptionEntry:
    """Declaration of a corruption.

    ``constants`` contain five values per profile, one for each severity: numbers, or named tuples. Fields with names
    that end in ``_px`` are lengths in pixels and scale with the image. If an entry has a single profile, its
    constants are used for all profiles.
    """

    summary: str
    source: str
    family: Family
    function: str | Corruption  # "module:function", imported when first used, or the function itself
    constants: Mapping[Profile, Sequence[Any]] = field(repr=False)
    standard: bool = False  # True for the fifteen corruptions in the mean, False for the four validation corruptions
    random: bool = False  # draws random numbers
    stand_in: str = ""  # "module:function" to use if the photographs that ``function`` needs are not installed
    version: int = 1  # incremented when the corrupted images may change

    def __post_init__(self) -> None:
        """Raise BenchError for an unknown family or profile, or for a profile without five constants."""
        if self.family not in FAMILIES:
            raise BenchError(f"unknown family {self.family!r} of a corruption; the families are {join(FAMILIES)}.")
        if not self.constants:
            raise BenchError("a corruption needs constants for at least one profile; give five, one per severity.")
        for profile, values in self.constants.items():
            if profile not in PROFILE_SIZES:
                known = join(list(PROFILE_SIZES))
                raise BenchError(f"unknown profile {profile!r} of constants; the profiles are {known}.")
            if len(values) != len(SEVERITY_LEVELS):
                raise BenchError(f"profile {profile!r} has {len(values)} constants; it needs five, one per severity.")


class CorruptionRegistry(Registry[CorruptionEntry]):
    """Corruptions by name."""

    def register(self, name: str, entry: CorruptionEntry, *, origin: str) -> None:
        """Add ``entry``.

        Raises BenchError for a reserved name, for a name that no file can have, or if a plug-in's entry is
        ``standard``.
        """
        if name in (*FAMILIES, *SETS, NONE):
            raise BenchError(f"corruption {name!r} (from {origin}) has the name of a family or a set; choose another.")
        if isinstance(name, str) and not is_pattern(name) and (problem := self._file_problem(name)):
            raise BenchError(
                f"corruption {shown(name)!r} (from {origin}) cannot be the name of its file of images: {problem}; "
                "choose another."
            )
        if entry is not None and entry.standard and origin != BUILTIN:
            raise BenchError(f"corruption {name!r} (from {origin}) is not a standard one; leave out standard=True.")
        super().register(name, entry, origin=origin)

    def _file_problem(self, name: str) -> str:
        """Describe why the images cannot be stored as ``<name>.npy``; empty if they can."""
        if _folded(name) in OTHER_FILES:
            return "a set of corrupted images has another file of this name"
        same = next((other for other in self if other != name and _folded(other) == _folded(name)), None)
        return (
            file_name_problem(name)
            if same is None
            else f"{same!r} differs from it in case or in the form of its accents only"
        )


BUILTIN: Final = "bench.attacks.corruptions.builtin"  # the origin of the corruptions that come with the project

CORRUPTIONS = CorruptionRegistry("corruption")

SETS: Final = ("standard", "all")


def resolve_kinds(patterns: Collection[str]) -> list[str]:
    """Resolve names, wildcards, families and sets of corruptions to names in registry order.

    The sets are ``standard`` and ``all``. The single word ``none`` means no corruption. Raises BenchError for an
    unknown name, and for an empty list.
    """
    if is_none("corruption", patterns):
        return []
    names: set[str] = set()
    for pattern in patterns:
        names |= set(_kinds(pattern))
    return [name for name in CORRUPTIONS if name in names]


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


def _folded(name: str) -> str:
    """Return the name as file systems compare it that ignore case, and whether an accent is a character of its own."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_standard(name: str) -> bool:
    """Return whether the corruption is one of the fifteen standard ones."""
    return CORRUPTIONS.get(name).standard


def files_sha_of(name: str) -> str:
    """Return the hash of the photographs that the corruption uses on this machine.

    The hash is "" if the corruption needs no photographs, or if they are not installed.
    """
    return photographs.FILES_SHA if CORRUPTIONS.get(name).stand_in and photographs.find_installed() else ""


def can_make(name: str, files_sha: str) -> bool:
    """Return whether the photographs with hash ``files_sha`` are installed, or none are needed (hash "")."""
    return files_sha in ("", files_sha_of(name))


def load_corruption(name: str, files_sha: str) -> Corruption:
    """Return the function of the corruption.

    It uses the photographs with hash ``files_sha``. If ``files_sha`` is "", it uses no photographs.

    Raises BenchError if the corruption does not use these files, or if they are not installed.
    """
    entry = CORRUPTIONS.get(name)
    if files_sha:
        if not entry.stand_in or files_sha != photographs.FILES_SHA:
            raise BenchError(f"{name} cannot be computed with the files {files_sha}; compute the cells again.")
        photographs.load()
    address = entry.stand_in if entry.stand_in and not files_sha else entry.function
    if not isinstance(address, str):
        return address
    module, _, attribute = address.partition(":")
    function: Corruption = getattr(importlib.import_module(module), attribute)
    return function


def parameters(kind: str, severity: int, profile: Profile, size: int) -> Any:
    """Return the constants of ``kind``, with lengths scaled to images whose shorter side is ``size``.

    Integer lengths in pixels stay integers, and are at least 1. Raises BenchError for a profile without constants.
    """
    constants = CORRUPTIONS.get(kind).constants
    if len(constants) == 1:
        (profile,) = constants
    if profile not in constants:
        known = join(list(constants), "or")
        raise BenchError(f"corruption {kind!r} has no constants of profile {profile!r}; use the profile {known}.")
    constant, factor = constants[profile][severity - 1], size / PROFILE_SIZES[profile]
    if factor == 1 or not hasattr(constant, "_asdict"):
        return constant
    return type(constant)(*(_scaled(name, value, factor) for name, value in constant._asdict().items()))


def _scaled(name: str, value: float, factor: float) -> float:
    if not name.endswith("_px"):
        return value
    return max(1, round(value * factor)) if name.startswith("max_") else value * factor
