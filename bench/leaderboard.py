"""leaderboard.csv: one row a configuration (data, backbone, variant, recipe), averaged over its seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bench.core.specs import EvalRecord, RunRecord
from bench.core.vocabulary import BASELINE, CLEAN, LEADERBOARD_COLUMNS, METRIC_SUFFIXES
from bench.files import write_atomic
from bench.results import Cell, all_cells, results_table, to_csv
from bench.samples import Sample
from bench.stats import wilson_interval
from bench.store import Store


@dataclass
class BoardRow:
    """All repeats of one configuration: its cells by metric column, one for each seed."""

    run: RunRecord
    runs: list[RunRecord] = field(default_factory=list)
    cells: dict[str, dict[int, EvalRecord]] = field(default_factory=lambda: defaultdict(dict))

    def accuracies(self, column: str) -> list[float]:
        """Fractions over the seeds; empty unless every seed's cell is ok."""
        cells = self.cells.get(column, {})
        counts = [cell.n_correct for cell in cells.values() if cell.status == "ok" and cell.n_correct is not None]
        if len(counts) < len(self.runs):
            return []
        return [count / cell.n for count, cell in zip(counts, cells.values(), strict=True)]

    def mean(self, column: str) -> float | None:
        found = self.accuracies(column)
        return sum(found) / len(found) if found else None


def board_rows(cells: Iterable[Cell]) -> list[BoardRow]:
    """Group cells by configuration. Of two cells in one place the one over more images counts, ``standard`` first."""
    rows: dict[tuple[str, ...], BoardRow] = {}
    for run, cell in cells:
        row = rows.setdefault((run.dataset, run.model, run.variant, run.config_sha), BoardRow(run))
        if run.run_id not in {known.run_id for known in row.runs}:
            row.runs.append(run)
        place = row.cells[cell.spec.name]
        if run.seed not in place or _weight(cell) > _weight(place[run.seed]):
            place[run.seed] = cell
    return list(rows.values())


def _weight(cell: EvalRecord) -> tuple[bool, int, str]:
    return cell.spec.protocol == "standard", cell.n, cell.cell_id


def metric_columns(rows: Sequence[BoardRow]) -> list[str]:
    """Clean first, then the attacks from the weakest to the strongest, each by norm and rising eps."""
    found = {column: next(iter(cells.values())).spec.attack for row in rows for column, cells in row.cells.items()}
    order = {"fgsm": 0, "pgd": 1, "apgd": 2, "autoattack": 3}

    def key(column: str) -> tuple[Any, ...]:
        attack = found[column]
        if attack is None:
            return (0, 0, "", "", 0.0)
        return (1, order.get(attack.name.split("-")[0], 4), attack.name, attack.norm, attack.eps)

    return sorted(found, key=key)


def board_table(rows: Sequence[BoardRow], store: Store) -> pd.DataFrame:
    """The board with everything beside every accuracy: percent, two decimals, by data set and rank."""
    metrics = metric_columns(rows)
    table = []
    for dataset in sorted({row.run.dataset for row in rows}):
        group = [row for row in rows if row.run.dataset == dataset]
        for rank, row in _ranked(group):
            table.append({**_board_row(row, group, metrics, store), "rank": rank})
    columns = [*LEADERBOARD_COLUMNS, *(m + suffix for m in metrics for suffix in ("", *METRIC_SUFFIXES))]
    return pd.DataFrame(table, columns=columns).astype({"rank": "Int64"})


def _ranked(group: Sequence[BoardRow]) -> list[tuple[int | None, BoardRow]]:
    """Rows of one data set with their places; what lacks a cell that another row has comes last, without a place."""
    needed = {column for row in group for column in row.cells} | {CLEAN}
    complete = [row for row in group if all(row.mean(column) is not None for column in needed)]
    complete.sort(key=lambda row: (-robust_accuracy(row), -(row.mean(CLEAN) or 0), _name(row)))
    rest = sorted((row for row in group if not any(row is c for c in complete)), key=_name)
    return [*enumerate(complete, start=1), *((None, row) for row in rest)]


def robust_accuracy(row: BoardRow) -> float:
    """Mean over the budgets of the lowest accuracy that any attack left at that budget; clean without an attack."""
    lowest: dict[tuple[str, float], float] = {}
    for column, cells in row.cells.items():
        attack, mean = next(iter(cells.values())).spec.attack, row.mean(column)
        if attack is not None and mean is not None:
            budget = (attack.norm, attack.eps)
            lowest[budget] = min(mean, lowest.get(budget, 1.0))
    return sum(lowest.values()) / len(lowest) if lowest else row.mean(CLEAN) or 0.0


def _name(row: BoardRow) -> tuple[str, ...]:
    return row.run.model, row.run.variant, row.run.config_sha


def _board_row(row: BoardRow, group: Sequence[BoardRow], metrics: Sequence[str], store: Store) -> dict[str, Any]:
    run = row.run
    bad = [cell.status for cells in row.cells.values() for cell in cells.values() if cell.status != "ok"]
    values: dict[str, Any] = {
        "dataset": run.dataset,
        "model": run.model,
        "variant": run.variant,
        "seeds": len(row.runs),
        "img_size": run.img_size,
        "param_count": round(run.param_count / 1e6, 2),
        "epochs": run.epochs,
        "n_train": run.n_train,
        "status": f"{len(bad)} not ok" if bad else "ok",
        "config_sha": run.config_sha,
    }
    baseline = _twin(row, group)
    for metric in metrics:
        values[metric] = _percent(row.mean(metric))
        values[metric + "_diff"] = _difference(row, baseline, metric, store)
        values.update(_interval_columns(row, metric))
    return values


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


def _interval_columns(row: BoardRow, metric: str) -> dict[str, Any]:
    mean = row.mean(metric)
    if mean is None:
        return {}
    n = min(cell.n for cell in row.cells[metric].values())
    low, high = wilson_interval(mean * n, n)
    found = row.accuracies(metric)
    spread = math.sqrt(sum((a - mean) ** 2 for a in found) / (len(found) - 1)) if len(found) > 1 else None
    return {
        metric + "_lo": _percent(low),
        metric + "_hi": _percent(high),
        metric + "_n": n,
        metric + "_std": _percent(spread),
    }


def _twin(row: BoardRow, rows: Sequence[BoardRow]) -> BoardRow | None:
    """The baseline of the same data, backbone and recipe; None for the baseline itself or without one."""
    if row.run.variant == BASELINE or row.run.spec is None:
        return None
    for other in rows:
        theirs, ours = other.run.spec, row.run.spec
        if theirs is None or other.run.variant != BASELINE:
            continue
        if (theirs.data, theirs.model, theirs.recipe) == (ours.data, ours.model, ours.recipe):
            return other
    return None


def _difference(row: BoardRow, baseline: BoardRow | None, metric: str, store: Store) -> float | None:
    """Points above the baseline over the seeds and images that both have; None when there are none."""
    if baseline is None or row.mean(metric) is None or baseline.mean(metric) is None:
        return None
    ours, theirs = row.cells[metric], baseline.cells[metric]
    differences = [_paired(store, ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    known = [difference for difference in differences if difference is not None]
    return _percent(sum(known) / len(known)) if known else None


def _paired(store: Store, ours: EvalRecord, theirs: EvalRecord) -> float | None:
    """Difference of the accuracies over the images that both cells hold."""
    if ours.spec.data_sha != theirs.spec.data_sha or ours.spec.protocol != theirs.spec.protocol:
        return None
    mine, reference = _verdicts(store.read_samples(ours)), _verdicts(store.read_samples(theirs))
    common = mine.keys() & reference.keys()
    return sum(mine[i] - reference[i] for i in common) / len(common) if common else None


def _verdicts(samples: Iterable[Sample]) -> dict[str, int]:
    return {sample.sample_id: int(sample.correct) for sample in samples}


def rebuild(store: Store, *, intervals: bool = False) -> pd.DataFrame:
    """Write results.csv and leaderboard.csv from all the cells in the store. Returns the whole board.

    The file keeps of what stands beside an accuracy only the difference to the baseline unless ``intervals``.
    """
    cells = all_cells(store)
    board = board_table(board_rows(cells), store)
    beside = tuple(suffix for suffix in METRIC_SUFFIXES if suffix != "_diff")
    kept = [c for c in board.columns if intervals or c in LEADERBOARD_COLUMNS or not c.endswith(beside)]
    write_atomic(store.root / "results.csv", to_csv(results_table(cells)))
    write_atomic(store.root / "leaderboard.csv", to_csv(board[kept]))
    return board
