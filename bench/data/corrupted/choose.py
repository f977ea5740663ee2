"""Turn the user's choice of corruptions into their specs. Neither torch nor an image is needed for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import BUILTIN, CORRUPTIONS, files_sha_of, resolve_kinds
from bench.attacks.corruptions.severities import PROFILE_SIZES, SEVERITY_LEVELS, Profile, nearest_profile
from bench.core.errors import BenchError, unknown_name
from bench.core.specs import CorruptionSpec
from bench.runtime.plugin import plugin_sha


def choose_corruptions(
    kinds: Sequence[str],
    severities: Sequence[str] = ("1", "2", "3", "4", "5"),
    *,
    side: int,
    profile: str | None = None,
    corruptions_dir: Path | None = None,
) -> list[CorruptionSpec]:
    """Return one spec per kind and severity, for images of ``side`` pixels or official files in ``corruptions_dir``.

    Raises BenchError for unknown names, severities and profiles.
    """
    if profile is not None and corruptions_dir is not None:
        raise BenchError("--corruption-profile is for images that are corrupted here; leave it out with files.")
    constants = choose_profile(profile, side)
    wanted, levels = resolve_kinds(kinds), [_severity(text) for text in severities]
    if wanted and not levels:
        raise BenchError("no severity given; write --severities 1,2,3,4,5.")
    return [
        CorruptionSpec(
            kind=kind,
            severity=level,
            source="generated" if corruptions_dir is None else "official",
            profile=constants,
            version=CORRUPTIONS.get(kind).version if corruptions_dir is None else 1,
            files_sha=files_sha_of(kind) if corruptions_dir is None else "",
            code_sha=code_sha_of(kind) if corruptions_dir is None else "",
        )
        for kind in wanted
        for level in sorted(set(levels))
    ]


def code_sha_of(kind: str) -> str:
    """Return the content hash of the plug-ins for a corruption that a plug-in registered; empty for our own."""
    return "" if CORRUPTIONS.origin(kind) == BUILTIN else plugin_sha()


def choose_profile(asked: str | None, side: int) -> Profile:
    """The profile of that name, or the nearest to the size. Raises BenchError when there is none of the name."""
    if asked is None:
        return nearest_profile(side)
    if asked not in PROFILE_SIZES:
        raise unknown_name("profile", asked, list(PROFILE_SIZES), hint="Each has the constants of one size of image.")
    return cast(Profile, asked)


def _severity(text: str) -> int:
    if text not in map(str, SEVERITY_LEVELS):
        raise BenchError(f"severity {text!r} is none of 1, 2, 3, 4 and 5.")
    return int(text)
