"""Notes on whether an accuracy on corrupted images is comparable with published accuracies."""

from __future__ import annotations

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions import photographs
from bench.attacks.corruptions.registry import BUILTIN, CORRUPTIONS
from bench.attacks.corruptions.severities import PROFILE_SIZES
from bench.core.specs import CorruptionSpec

FROM_PLUGIN = "defined by a plug-in: there is no published set to compare with"
UNKNOWN_FILES = "not verified as a published set: the checksums of the files are not among the published ones"


def corruption_notes(spec: CorruptionSpec, side: int, *, published: bool = False) -> tuple[str, ...]:
    """Return the notes for images whose shorter side is ``side`` pixels.

    No note is returned if the files are ``published``, that is, if they have the checksums of a published set.
    """
    if spec.source == "official":
        return () if published else (UNKNOWN_FILES,)
    if CORRUPTIONS.origin(spec.kind) != BUILTIN:
        return (FROM_PLUGIN,)
    notes = []
    expected = PROFILE_SIZES[spec.profile]  # type: ignore[index]
    if side != expected:
        notes.append(
            f"not comparable with published sets: constants of {expected} px images, lengths scaled to {side} px"
        )
    if CORRUPTIONS.get(spec.kind).stand_in:
        notes.append(photographs.note(spec.files_sha))
    return tuple(notes)
