"""Export a robust accuracy of a run as a model_info file of RobustBench.

The file has no field for the number of images or the origin of the files, because all numbers on a board have the same
protocol. A number of another protocol is therefore rejected. With ``allow_protocol_mismatch``, all differences are
written to the field ``footnote``, which the RobustBench page prints below the name of the model. The field
``unreliable`` is true for a flagged number, false if an audit passed, and omitted otherwise, as in 41 files of
RobustBench.
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

NO_VENUE = "N/A"  # value that RobustBench uses for models without a paper


def select_line(run: RunRecord, lines: Sequence[Line], *, threat: str | None, eps: float | None) -> Line:
    """Return the line for ``threat`` and ``eps``. Raises BenchError unless exactly one line has both accuracies."""
    norms = {norm for word, norm in THREATS.items() if threat in (None, word)}
    fitting = [
        line for line in lines
        if line.protocol.measure in (AUTOATTACK, CORRUPTIONS)
        and line.protocol.norm in norms
        and (eps is None or line.protocol.eps == eps)
    ]  # fmt: skip
    matches = [line for line in fitting if line.robust is not None and line.clean is not None]
    if len(matches) == 1:
        return matches[0]
    if matches:
        several = "; ".join(line.protocol.title for line in matches)
        raise BenchError(f"{run.run_id} has {len(matches)} such numbers ({several}); choose one by --threat and --eps.")
    failed = [f"{line.protocol.title}: {'; '.join(line.notes) or 'no clean accuracy'}" for line in fitting]
    reasons = f" ({'; '.join(failed)})" if failed else ""
    raise BenchError(
        f"{run.run_id} has no number that RobustBench publishes{reasons}; evaluate clean images and 'autoattack' under "
        "linf or l2 at one budget, or all 15 standard corruptions at 5 severities, with 'bench run' or "
        "'bench evaluate'."
    )


def model_info(run: RunRecord, line: Line, *, additional_data: bool | None, allow_protocol_mismatch: bool) -> ModelInfo:
    """Return the model_info of one line. The user must add link, authors and venue.

    Raises BenchError for a number of another protocol unless ``allow_protocol_mismatch`` is set, and if the use of
    additional training data is unknown.
    """
    departures = departures_of(line)
    if departures and not allow_protocol_mismatch:
        raise BenchError(
            f"{run.run_id} does not match the protocol of RobustBench ({'; '.join(departures)}), and the file has no "
            "field for the differences; evaluate it with that protocol, or write them as a footnote with "
            "--allow-protocol-mismatch."
        )
    corrupted, robust = line.protocol.measure == CORRUPTIONS, f"{line.robust:.2f}"
    alone = robust if line.autoattack is None else f"{line.autoattack:.2f}"
    flagged = [f"Flagged: {', '.join(line.flags)}"] if line.flags else []
    flagged += ["Clean accuracy no better than chance"] if line.at_chance else []
    departed = [f"Not under RobustBench's protocol: {'; '.join(departures)}"] if departures else []
    notes = [*departed, *flagged, *(text[:1].upper() + text[1:] for text in line.network_notes)]
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
    """List the differences between the protocol of ``line`` and the protocol of its board on RobustBench."""
    protocol = line.protocol
    words = {norm: word for word, norm in THREATS.items()}
    threat = CORRUPTIONS if protocol.measure == CORRUPTIONS else words[protocol.norm]
    if protocol.dataset not in TEST_SETS or (threat != CORRUPTIONS and (protocol.dataset, threat) not in BUDGETS):
        return [f"RobustBench has no board of {protocol.dataset} under {threat}", *_without_a_board(protocol, threat)]
    return mismatches(protocol, board_protocol(protocol.dataset, threat))


def _without_a_board(protocol: Protocol, threat: str) -> list[str]:
    """List the number of images, and the differences from the rules that all boards of RobustBench share."""
    clean = [] if protocol.n_clean == protocol.n else [f"clean n = {protocol.n_clean}"]
    board = dataclasses.replace(
        board_protocol("cifar10", threat),
        dataset=protocol.dataset,
        n=protocol.n,
        n_clean=protocol.n_clean,
        eps=protocol.eps,
    )
    return [f"n = {protocol.n}", *clean, *mismatches(protocol, board)]


def _additional(run: RunRecord) -> bool:
    """Return whether additional training data was used. Pretrained weights and checkpoints are treated as such data.

    Raises BenchError for a model that was not trained by this project.
    """
    if run.spec is None:
        raise BenchError(
            f"{run.run_id} was not trained here; declare whether it was trained with more than the training data with "
            "--additional-data or --no-additional-data."
        )
    return run.spec.model.pretrained or run.spec.model.checkpoint_sha is not None
