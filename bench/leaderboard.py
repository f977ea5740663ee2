"""leaderboard.csv: one row a configuration (data, backbone, variant, recipe), averaged over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.auditing.marks import verdict_of
from bench.board import BoardRow, board_rows, ranked
from bench.core.vocabulary import (
    ALWAYS_BESIDE,
    BASELINE,
    CLEAN,
    CORRUPTIONS_ACC,
    DECIMALS,
    LEADERBOARD_COLUMNS,
    METRIC_SUFFIXES,
)
from bench.corruption_board import corruption_metrics, corruption_values
from bench.corruption_export import corruptions_csv
from bench.files import write_atomic
from bench.metrics import metric_values
from bench.results import all_audits, all_cells, all_diagnoses, results_table, to_csv
from bench.store import Store

#: Attacks from the weakest to the strongest, for the order of the columns.
STRENGTH = {"fgsm": 0, "pgd": 1, "apgd": 2, "autoattack": 3}


def rebuild(
    store: Store, *, intervals: bool = False, mce_reference: str = BASELINE, rank_flagged: bool = False
) -> pd.DataFrame:
    """Write results.csv, leaderboard.csv and corruptions.csv from all the cells in the store. Returns the whole board.

    The file keeps of what stands beside an accuracy only n and the difference to the baseline unless ``intervals``.
    """
    cells, audits = all_cells(store), all_audits(store)
    rows = board_rows(cells, audits)
    board = board_table(rows, store, mce_reference, rank_flagged=rank_flagged)
    dropped = () if intervals else tuple(suffix for suffix in METRIC_SUFFIXES if suffix not in ALWAYS_BESIDE)
    kept = [c for c in board.columns if c in LEADERBOARD_COLUMNS or not c.endswith(dropped or ("\0",))]
    write_atomic(store.root / "results.csv", to_csv(results_table(cells, all_diagnoses(store), audits)))
    write_atomic(store.root / "leaderboard.csv", to_csv(board[kept].round(DECIMALS)))
    unaggregated, path = corruptions_csv(rows), store.root / "corruptions.csv"
    if unaggregated is not None:
        write_atomic(path, unaggregated)
    elif path.exists():
        path.unlink()  # of cells that are gone
    return board


def board_table(
    rows: Sequence[BoardRow], store: Store, mce_reference: str = BASELINE, *, rank_flagged: bool = False
) -> pd.DataFrame:
    """The board with everything beside every accuracy: percent, by data set and rank."""
    metrics, of_corruptions, table = metric_columns(rows), corruption_metrics(rows), []
    for key in sorted({(row.run.dataset, row.data_sha) for row in rows}):
        group = [row for row in rows if (row.run.dataset, row.data_sha) == key]
        for rank, row in ranked(group, rank_flagged=rank_flagged):
            twin = _twin(row, group)
            values = corruption_values(row, twin or _itself(row), mce_reference) if of_corruptions else {}
            table.append({**_describe(row), "rank": rank, **metric_values(row, twin, metrics, store), **values})
    beside = [m + suffix for m in metrics for suffix in ("", *METRIC_SUFFIXES)]
    columns = [*LEADERBOARD_COLUMNS, *beside, *(c for c in of_corruptions if c not in metrics)]
    whole = ["rank", "latent_dim", "img_size", "epochs", "n_train", *(f"{metric}_n" for metric in metrics)]
    return pd.DataFrame(table, columns=columns).astype(dict.fromkeys(whole, "Int64"))


def metric_columns(rows: Sequence[BoardRow]) -> list[str]:
    """Clean first, corruptions, then the attacks from the weakest to the strongest, each by norm and rising eps."""
    specs = {column: next(iter(cells.values())).spec for row in rows for column, cells in row.cells.items()}
    found = {column: spec.attack for column, spec in specs.items() if spec.corruption is None}

    def key(column: str) -> tuple[Any, ...]:
        attack = found[column]
        if attack is None:
            return (0, 0, "", "", 0.0, "")
        return 1, STRENGTH.get(attack.name.split("-")[0], 4), attack.name, attack.norm, attack.eps, column

    ordered = sorted(found, key=key)
    if len(found) < len(specs):
        ordered.insert(1 if CLEAN in found else 0, CORRUPTIONS_ACC)
    return ordered


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
        "audit": verdict_of(row.audits, row.seeds),
        "config_sha": run.config_sha,
        "data_sha": row.data_sha,
    }


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


def _itself(row: BoardRow) -> BoardRow | None:
    """A baseline is its own reference."""
    return row if row.run.variant == BASELINE else None
