"""A run's number in the form of RobustBench's model_info.

RobustBench's file has no field for the number of images or the origin of the files: all numbers on its boards have the
same protocol. A number of another protocol is therefore refused. With ``allow_protocol_mismatch``, every departure is
written to the field ``footnote``, which their page prints below the model's name. A flagged number is written as
``unreliable``, their word for it. The file says that a number is not unreliable only if an audit passed; 41 of their
files leave the field out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.compare.model_info import ModelInfo
from bench.compare.published_rows import board_protocol
from bench.compare.robustbench import BUDGETS, TEST_SETS, THREATS
from bench.compare.rows import AUTOATTACK, CORRUPTIONS, Line, Protocol, mismatches
from bench.core.epsilon import format_eps
from bench.core.errors import BenchError
from bench.core.records import RunRecord

NO_VENUE = "N/A"  # as theirs of models that no paper is about


def number_of(run: RunRecord, lines: Sequence[Line], *, threat: str | None, eps: float | None) -> Line:
    """The one line that ``threat`` and ``eps`` choose. Raises BenchError unless there is exactly one, with numbers."""
    norms = {norm for word, norm in THREATS.items() if threat in (None, word)}
    fitting = [
        line for line in lines
        if line.protocol.measure in (AUTOATTACK, CORRUPTIONS)
        and line.protocol.norm in norms
        and (eps is None or line.protocol.eps == eps)
    ]  # fmt: skip
    found = [line for line in fitting if line.robust is not None and line.clean is not None]
    if len(found) == 1:
        return found[0]
    if found:
        several = "; ".join(line.protocol.title for line in found)
        raise BenchError(f"{run.run_id} has {len(found)} such numbers ({several}); choose by --threat and --eps.")
    failed = [f"{line.protocol.title}: {'; '.join(line.notes) or 'no clean accuracy'}" for line in fitting]
    why = f" ({'; '.join(failed)})" if failed else ""
    raise BenchError(
        f"{run.run_id} has no number that RobustBench publishes{why}: it takes clean images and 'autoattack' under "
        "linf or l2 at one budget, or all 15 standard corruptions at 5 severities; 'bench run' or "
        "'bench evaluate' adds them."
    )


def model_info(run: RunRecord, line: Line, *, additional_data: bool | None, allow_protocol_mismatch: bool) -> ModelInfo:
    """The file of one number; link, authors and venue are left for its makers to fill in.

    Raises BenchError for a number of another protocol unless ``allow_protocol_mismatch``, and if it is not known
    whether the model saw more than the training data.
    """
    departures = departures_of(line)
    if departures and not allow_protocol_mismatch:
        raise BenchError(
            f"{run.run_id} is not under RobustBench's protocol ({'; '.join(departures)}), and its file has no field "
            "that says so; evaluate it so, or write the file with a footnote by --allow-protocol-mismatch."
        )
    corrupted, robust = line.protocol.measure == CORRUPTIONS, f"{line.robust:.2f}"
    alone = robust if line.autoattack is None else f"{line.autoattack:.2f}"
    flagged = [f"Flagged: {', '.join(line.flags)}"] if line.flags else []
    flagged += ["Clean accuracy no better than chance"] if line.at_chance else []
    departed = [f"Not under RobustBench's protocol: {'; '.join(departures)}"] if departures else []
    notes = [*departed, *flagged, *(text[:1].upper() + text[1:] for text in line.remarks)]
    return ModelInfo(
        link="",
        name=line.model,
        authors="",
        additional_data=_additional(run) if additional_data is None else additional_data,
        number_forward_passes=1,
        dataset=run.dataset,
        venue=NO_VENUE,
        architecture=line.architecture,
        eps=format_eps(line.protocol.eps) if line.protocol.eps is not None else None,
        clean_acc=f"{line.clean:.2f}",
        autoattack_acc=None if corrupted else alone,
        corruptions_acc=robust if corrupted else None,
        external=None if line.autoattack is None else robust,
        unreliable=None if corrupted or line.at_chance or not (line.flags or line.acquitted) else bool(line.flags),
        footnote=". ".join(notes) or None,
    )


def departures_of(line: Line) -> list[str]:
    """List the differences between the protocol of ``line`` and that of the board that it would enter."""
    ours = line.protocol
    words = {norm: word for word, norm in THREATS.items()}
    threat = CORRUPTIONS if ours.measure == CORRUPTIONS else words[ours.norm]
    if ours.dataset not in TEST_SETS or (threat != CORRUPTIONS and (ours.dataset, threat) not in BUDGETS):
        return [f"RobustBench has no board of {ours.dataset} under {threat}", *_without_a_board(ours, threat)]
    return mismatches(ours, board_protocol(ours.dataset, threat))


def _without_a_board(ours: Protocol, threat: str) -> list[str]:
    """The images, for which there is no rule, and what all their boards have in common, of which any may stand here."""
    clean = [] if ours.n_clean == ours.n else [f"clean n = {ours.n_clean}"]
    theirs = dataclasses.replace(
        board_protocol("cifar10", threat), dataset=ours.dataset, n=ours.n, n_clean=ours.n_clean, eps=ours.eps
    )
    return [f"n = {ours.n}", *clean, *mismatches(ours, theirs)]


def _additional(run: RunRecord) -> bool:
    """Weights that were there before the training have seen other images."""
    if run.spec is None:
        raise BenchError(
            f"{run.run_id} was not trained here; say whether it saw more than the training data by --additional-data "
            "or --no-additional-data."
        )
    return run.spec.model.pretrained or run.spec.model.checkpoint_sha is not None
