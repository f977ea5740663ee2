"""Export the accuracies of a run as the ``model-index`` of a Hugging Face model card.

Put the text between the two ``---`` lines of the card. Accuracies are fractions, as in the metric ``accuracy`` of the
hub. The ``args`` of each number describe its images, protocol and flags. Therefore no number has to be excluded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.errors import BenchError
from bench.core.inert import terminal
from bench.core.records import EvalRecord
from bench.core.vocabulary import CLEAN
from bench.leaderboard.collapse import row_collapse
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS, standard_cells
from bench.leaderboard.lowest_known import attacks_at, budgets_of, lowest_known
from bench.leaderboard.rows import BoardRow, drawn_alike, subset_of
from bench.results.outcomes import Outcomes

TASK = "image-classification"
METRIC = "accuracy"
Args = Mapping[str, Any]


def model_index(row: BoardRow, name: str, outcomes: Outcomes, group: Sequence[BoardRow]) -> str:
    """Return the model-index as YAML, including the lowest known robust accuracies.

    These are computed from the per-image ``outcomes``. ``group`` are all rows of the split, including the collapse
    references. Raises BenchError if no cell of the run has an accuracy.
    """
    status = row_collapse(row, group)
    collapse = {} if status is None else {"collapse": status.text}
    results = [*_results(row, outcomes, collapse), *_lowest(row, outcomes, collapse)]
    if not results:
        raise BenchError(f"{row.run.run_id} has no accuracy; evaluate it with 'bench run' or 'bench evaluate'.")
    text: str = ModelCardData(model_name=name, eval_results=results).to_yaml()
    return terminal(text) + "\n"  # YAML quotes control characters, but not those that reverse the direction of text


def _results(row: BoardRow, outcomes: Outcomes, collapse: Args) -> Iterator[EvalResult]:
    """Yield the results: the clean accuracy, the attacks by name, and the mean over the standard corruptions."""
    columns = [c for c, cells in row.cells.items() if next(iter(cells.values())).spec.corruption is None]
    for column in sorted(columns, key=lambda c: (c != CLEAN, c)):
        mean = row.mean(column)
        if mean is not None:
            args = _args(list(row.cells[column].values()), outcomes)
            yield _result(row, column, mean, {**args, **collapse}, row.flags(column))
    if standard_cells(row):
        means = [mean for column in STANDARD_COLUMNS if (mean := row.mean(column)) is not None]
        flags = sorted({flag for column in STANDARD_COLUMNS for flag in row.flags(column)})
        args = _args([cell for column in STANDARD_COLUMNS for cell in row.cells[column].values()], outcomes)
        yield _result(row, CORRUPTIONS_ACC, fmean(means), {**args, **collapse}, flags)


def _lowest(row: BoardRow, outcomes: Outcomes, collapse: Args) -> Iterator[EvalResult]:
    """Yield the lowest known robust accuracy at each budget, over all attacks including the audit's attacks."""
    for budget in budgets_of([row]):
        lowest, columns = lowest_known(row, budget, outcomes), attacks_at(row, budget)
        if lowest is None:
            continue
        cell = next(iter(row.cells[columns[0]].values()))
        shared_images = cell if cell.n == len(lowest.ids) else dataclasses.replace(cell, n=len(lowest.ids), leaked=None)
        shared_cells = [c for column in drawn_alike(row, columns, outcomes) for c in row.cells[column].values()]
        args = {**_images(shared_images, subset_of(shared_cells, outcomes)), "norm": budget.norm, "eps": budget.eps}
        args |= {"broken_by": lowest.broken_by(), "audit_n": lowest.n_audited}
        args = {name: value for name, value in args.items() if value is not None} | {**collapse}
        flags = sorted({flag for column in columns for flag in row.flags(column)})
        yield _result(row, budget.column, float(lowest.accuracy), args, flags, is_attack=True)


def _images(cell: EvalRecord, subset: str) -> dict[str, Any]:
    """Describe the images of a result: counts, ``subset`` if not empty, and the number of leaked images if known."""
    args: dict[str, Any] = {"n": cell.n, "n_test": cell.n_test, "official": cell.official}
    args |= {"subset": subset} if subset else {}
    return args if cell.leaked is None else args | {"leaked": cell.leaked}


def _args(cells: Sequence[EvalRecord], outcomes: Outcomes) -> dict[str, Any]:
    """Describe the protocol of a result by its first cell."""
    cell = cells[0]
    attack, corruption = cell.spec.attack, cell.spec.corruption
    args = _images(cell, subset_of(cells, outcomes))
    if attack is not None:
        args |= {"attack": attack.label, "norm": attack.norm, "eps": attack.eps, "protocol": cell.spec.protocol}
        args |= {"precision": attack.precision}
    if corruption is not None:
        args |= {"source": corruption.source, "profile": corruption.profile}
    return args


def _result(
    row: BoardRow, column: str, value: float, args: Args, flags: list[str], *, is_attack: bool = False
) -> EvalResult:
    upper = ", an upper bound" if flags and (is_attack or "attack" in args) else ""
    chance = row.chance()
    return EvalResult(
        task_type=TASK,
        dataset_type=row.run.dataset,
        dataset_name=row.run.dataset,
        dataset_split="test",
        dataset_args={"data_sha": row.data_sha},
        metric_type=METRIC,
        metric_name=f"{column}{f', of a model {chance}' if chance else upper}",
        metric_value=value,
        metric_args={**args} | ({"flags": flags} if flags else {}) | ({"chance": chance} if chance else {}),
    )
