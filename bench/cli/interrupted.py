"""Sentence of an interrupted command: what is stored, and how to continue."""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = "run the same command again"
COMPUTES = (
    f"finished trainings and cells are stored, and the state of running ones about once per second; {AGAIN} to continue"
)
MEASURES = f"finished measurements are stored; {AGAIN} for the others"
DELETES = f"some files may be deleted already; {AGAIN} to finish"
READS = "the results folder is unchanged"
WRITES = f"files that were already written are complete; {AGAIN} to write all"
#: Sentences by command. All other commands write files.
SENTENCES = {
    **dict.fromkeys(("run", "evaluate"), COMPUTES),
    **dict.fromkeys(("diagnose", "audit"), MEASURES),
    **dict.fromkeys(("gc", "rm"), DELETES),
    **dict.fromkeys(("list", "show", "verify", "compare", "export", "check", "check-plugin", "doctor"), READS),
}


def interrupted_text(arguments: Sequence[str]) -> str:
    """Return the sentence for the interrupted command line ``arguments``.

    >>> interrupted_text(["verify", "--all"])
    'interrupted; the results folder is unchanged.'
    """
    if not arguments or ("gc" in arguments[:1] and "--delete" not in arguments):
        return f"interrupted; {READS}."
    return f"interrupted; {SENTENCES.get(arguments[0], WRITES)}."
