"""Convert the user's choice of corruptions to specs, without torch and without images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import BUILTIN, CORRUPTIONS, files_sha_of, parameters, resolve_kinds
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
        raise BenchError(
            "--corruption-profile applies to generated corruptions only; omit it, or omit --corruptions-dir."
        )
    constants = choose_profile(profile, side)
    resolved, levels = resolve_kinds(kinds), [_severity(text) for text in severities]
    if resolved and not levels:
        raise BenchError("no severity given; write --severities 1,2,3,4,5.")
    if corruptions_dir is None:
        for kind in resolved:
            parameters(kind, SEVERITY_LEVELS[0], constants, side)  # a corruption from a plug-in may lack this profile
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
        for kind in resolved
        for level in sorted(set(levels))
    ]


def code_sha_of(kind: str) -> str:
    """Return the content hash of the plug-in file that registered ``kind``; empty for built-in corruptions."""
    return "" if CORRUPTIONS.origin(kind) == BUILTIN else plugin_sha()


def choose_profile(requested: str | None, side: int) -> Profile:
    """Return the profile ``requested``. If it is None, return the profile whose image size is nearest to ``side``.

    Raises BenchError for an unknown name.
    """
    if requested is None:
        return nearest_profile(side)
    if requested not in PROFILE_SIZES:
        raise unknown_name(
            "profile", requested, list(PROFILE_SIZES), hint="A profile has constants for one image size."
        )
    return cast(Profile, requested)


def _severity(text: str) -> int:
    if text not in map(str, SEVERITY_LEVELS):
        raise BenchError(f"severity {text!r} is unknown; use 1, 2, 3, 4 or 5.")
    return int(text)
