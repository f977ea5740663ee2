"""What has to be said of a corrupted image's number before it is put beside a published one."""

from __future__ import annotations

from attacks.corruptions import builtin as builtin  # fills the registry
from attacks.corruptions.registry import CORRUPTIONS
from attacks.corruptions.severities import PROFILE_SIZES
from bench.core.specs import CorruptionSpec

UNKNOWN_FILES = "not known to be a published set: read from files of which no published checksum is known"


def corruption_notes(spec: CorruptionSpec, side: int, *, published: bool = False) -> tuple[str, ...]:
    """In words, for images whose shorter side is ``side`` pixels.

    Nothing of files that are ``published``, which is to say have the checksums of a published set.
    """
    if spec.source == "official":
        return () if published else (UNKNOWN_FILES,)
    notes = []
    meant = PROFILE_SIZES[spec.profile]  # type: ignore[index]
    if side != meant:
        notes.append(
            f"not comparable with published sets: constants of {meant} px images, lengths scaled to {side} px"
        )
    stand_in = CORRUPTIONS.get(spec.kind).synthetic
    return (*notes, f"synthetic: {stand_in}") if stand_in else tuple(notes)
