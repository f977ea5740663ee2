"""leaderboard.csv: one row a configuration (data, backbone, variant, recipe), averaged over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.board import BoardRow, board_rows, ranked
from bench.core.specs import EvalRecord
from bench.core.vocabulary import ALWAYS_BESIDE, BASELINE, DECIMALS, LEADERBOARD_COLUMNS, METRIC_SUFFIXES
from bench.files import write_atomic
from bench.results import all_cells, all_diagnoses, results_table, to_csv
from bench.samples import Sample
from bench.stats import wilson_interval
from bench.store import Store

#: Attacks from the weakest to the strongest, for the order of the columns.
STRENGTH = {"fgsm": 0, "pgd": 1, "apgd": 2, "autoattack": 3}


def rebuild(store: Store, *, intervals: bool = False) -> pd.DataFrame:
    """Write results.csv and leaderboard.csv from all the cells in the store. Returns the whole board.

    The file keeps of what stands beside an accuracy only n and the difference to the baseline unless ``intervals``.
    """
    cells = all_cells(store)
    board = board_table(board_rows(cells), store)
    dropped = () if intervals else tuple(suffix for suffix in METRIC_SUFFIXES if suffix not in ALWAYS_BESIDE)
    kept = [c for c in board.columns if c in LEADERBOARD_COLUMNS or not c.endswith(dropped or ("\0",))]
    write_atomic(store.root / "results.csv", to_csv(results_table(cells, all_diagnoses(store))))
    write_atomic(store.root / "leaderboard.csv", to_csv(board[kept].round(DECIMALS)))
    return board


def board_table(rows: Sequence[BoardRow], store: Store) -> pd.DataFrame:
    """The board with everything beside every accuracy: percent, by data set and rank."""
    metrics = metric_columns(rows)
    table = []
    for key in sorted({(row.run.dataset, row.data_sha) for row in rows}):
        group = [row for row in rows if (row.run.dataset, row.data_sha) == key]
        for rank, row in ranked(group):
            table.append({**_describe(row), "rank": rank, **_metrics(row, _twin(row, group), metrics, store)})
    columns = [*LEADERBOARD_COLUMNS, *(m + suffix for m in metrics for suffix in ("", *METRIC_SUFFIXES))]
    whole = ["rank", "latent_dim", "img_size", "epochs", "n_train", *(f"{metric}_n" for metric in metrics)]
    return pd.DataFrame(table, columns=columns).astype(dict.fromkeys(whole, "Int64"))


def metric_columns(rows: Sequence[BoardRow]) -> list[str]:
    """Clean first, then the attacks from the weakest to the strongest, each by norm and rising eps."""
    found = {column: next(iter(cells.values())).spec.attack for row in rows for column, cells in row.cells.items()}

    def key(column: str) -> tuple[Any, ...]:
        attack = found[column]
        if attack is None:
            return (0, 0, "", "", 0.0, "")
        return 1, STRENGTH.get(attack.name.split("-")[0], 4), attack.name, attack.norm, attack.eps, column

    return sorted(found, key=key)


def _describe(row: BoardRow) -> dict[str, Any]:
    run = row.run
    bad = [cell for column in row.cells for cell in row.failures(column)]
    return {
        "dataset": run.dataset,
        "model": run.model,
        "variant": run.variant,
        "seeds": len(row.seeds),
        "latent_dim": run.latent_dim,
        "schedule": run.spec.variant_spec.schedule if run.spec else None,
        "img_size": run.img_size,
        "param_count": None if run.param_count is None else round(run.param_count / 1e6, 2),
        "epochs": run.epochs,
        "n_train": run.n_train,
        "status": f"{len(bad)} not ok" if bad else "ok",
        "config_sha": run.config_sha,
        "data_sha": row.data_sha,
    }


def _metrics(row: BoardRow, baseline: BoardRow | None, metrics: Sequence[str], store: Store) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for metric in metrics:
        mean, n = row.mean(metric), row.images(metric)
        if mean is None or n is None:
            values[f"{metric}_n"] = 0 if row.failed(metric) else None
            continue
        low, high = wilson_interval(mean * n, n)
        values |= {
            metric: _percent(mean),
            f"{metric}_n": n,
            f"{metric}_diff": _percent(_difference(row, baseline, metric, store)),
            f"{metric}_flags": ";".join(row.flags(metric)) or None,
            f"{metric}_lo": _percent(low),
            f"{metric}_hi": _percent(high),
            f"{metric}_std": _percent(_spread(row.accuracies(metric))),
        }
    return values


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for a single value."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _twin(row: BoardRow, group: Sequence[BoardRow]) -> BoardRow | None:
    """The baseline of the same data, backbone and recipe; None for the baseline itself or without one."""
    if row.run.variant == BASELINE or row.run.spec is None:
        return None
    for other in group:
        theirs, ours = other.run.spec, row.run.spec
        if theirs is None or other.run.variant != BASELINE:
            continue
        if (theirs.data, theirs.model, theirs.recipe) == (ours.data, ours.model, ours.recipe):
            return other
    return None


def _difference(row: BoardRow, baseline: BoardRow | None, metric: str, store: Store) -> float | None:
    """How far above the baseline, over the images that both have; None unless both have the same seeds."""
    if baseline is None or baseline.mean(metric) is None or row.seeds != baseline.seeds:
        return None
    ours, theirs = row.cells[metric], baseline.cells[metric]
    differences = [_paired(store, ours[seed], theirs[seed]) for seed in sorted(row.seeds)]
    known = [difference for difference in differences if difference is not None]
    return sum(known) / len(known) if len(known) == len(row.seeds) else None


def _paired(store: Store, ours: EvalRecord, theirs: EvalRecord) -> float | None:
    """Difference of the accuracies over the images that both cells hold."""
    mine, reference = _verdicts(store.read_samples(ours)), _verdicts(store.read_samples(theirs))
    common = mine.keys() & reference.keys()
    return sum(mine[i] - reference[i] for i in common) / len(common) if common else None


def _verdicts(samples: Iterable[Sample]) -> dict[str, int]:
    return {sample.sample_id: int(sample.correct) for sample in samples}
