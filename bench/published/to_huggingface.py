"""A run's accuracies as the ``model-index`` of a Hugging Face model card: what goes between its two lines of ``---``.

Accuracies are fractions, as the hub's metric of that name gives them. Every number has beside it, in ``args``, what
would be needed to doubt it, so that none is refused but one that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.errors import BenchError
from bench.core.specs import EvalRecord
from bench.core.vocabulary import CLEAN
from bench.tables.board import BoardRow
from bench.tables.corruption_cells import STANDARD_COLUMNS, standard_cells

TASK = "image-classification"
METRIC = "accuracy"


def model_index(row: BoardRow, name: str) -> str:
    """YAML. Raises BenchError when no cell of the run has an accuracy."""
    results = list(_results(row))
    if not results:
        raise BenchError(f"{row.run.run_id} has no accuracy; 'bench run' adds cells.")
    text: str = ModelCardData(model_name=name, eval_results=results).to_yaml()
    return text + "\n"


def _results(row: BoardRow) -> Iterator[EvalResult]:
    """Clean first, then attacks and single columns by name, then the mean over the standard corruptions."""
    columns = [c for c, cells in row.cells.items() if next(iter(cells.values())).spec.corruption is None]
    for column in sorted(columns, key=lambda c: (c != CLEAN, c)):
        mean = row.mean(column)
        if mean is not None:
            cell = next(iter(row.cells[column].values()))
            yield _result(row, column, mean, cell, row.flags(column))
    if standard_cells(row):
        means = [mean for column in STANDARD_COLUMNS if (mean := row.mean(column)) is not None]
        flags = sorted({flag for column in STANDARD_COLUMNS for flag in row.flags(column)})
        cell = next(iter(row.cells[STANDARD_COLUMNS[0]].values()))
        yield _result(row, CORRUPTIONS_ACC, fmean(means), cell, flags)


def _result(row: BoardRow, column: str, value: float, cell: EvalRecord, flags: list[str]) -> EvalResult:
    attack, corruption = cell.spec.attack, cell.spec.corruption
    args: dict[str, Any] = {"n": cell.n, "n_test": cell.n_test, "official": cell.official}
    if attack is not None:
        args |= {"attack": attack.label, "norm": attack.norm, "eps": attack.eps, "protocol": cell.spec.protocol}
        args |= {"precision": attack.precision}
    if corruption is not None:
        args |= {"source": corruption.source, "profile": corruption.profile}
    upper = ", an upper bound" if flags and attack is not None else ""
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
        metric_args=args | ({"flags": flags} if flags else {}) | ({"chance": chance} if chance else {}),
    )
