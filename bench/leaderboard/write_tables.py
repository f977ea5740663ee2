"""Write the CSV tables. leaderboard.csv has one row per configuration (data, backbone, variant, recipe)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.attacks.registry import STRONGEST, entry_of
from bench.config import TableConfig
from bench.core.columns import CORRUPTIONS_ACC, DEFAULT_SUFFIXES, LEADERBOARD_COLUMNS, METRIC_SUFFIXES, NOT_OK
from bench.core.errors import BenchError
from bench.core.specs import AttackSpec
from bench.core.vocabulary import BASELINE, CLEAN
from bench.leaderboard import metrics as metrics  # registers the built-in metrics
from bench.leaderboard.accuracies import accuracy_values
from bench.leaderboard.collapse import collapse_values
from bench.leaderboard.comparison import comparison_table
from bench.leaderboard.corruptions_csv import corruptions_csv
from bench.leaderboard.lowest_known import lowest_accuracies
from bench.leaderboard.ranking import ranked
from bench.leaderboard.references import reference_of, same_split
from bench.leaderboard.registry import (
    MetricColumn,
    MetricInput,
    column_units,
    is_count,
    metric_columns,
    metric_values,
)
from bench.leaderboard.report import Units, rounded
from bench.leaderboard.rows import EQUAL_PER_CLASS, BoardRow, board_rows, outdated_columns
from bench.results.outcomes import Outcomes
from bench.results.results_csv import all_audits, all_cells, all_diagnoses, results_table, to_csv
from bench.results.store import Store
from bench.results.table_hashes import expect_tables, record_tables
from bench.runtime.claims import CLAIMS
from bench.runtime.files import write_atomic
from bench.runtime.input_files import is_file


class Tables(NamedTuple):
    """Leaderboard and comparison with unrounded numbers, and the units of the leaderboard's metric columns."""

    board: pd.DataFrame
    comparison: pd.DataFrame  # empty if no row has a paired reference
    units: Units


def rebuild(store: Store, *, intervals: bool = False) -> pd.DataFrame:
    """Write the tables and return the leaderboard; see :func:`write_tables`."""
    return write_tables(store, intervals=intervals).board


def check_reference(against: str, variants: Collection[str]) -> None:
    """Raise BenchError unless ``variants`` contains the reference variant ``against``.

    The default reference, ``baseline``, may be missing.
    """
    if against != BASELINE and against not in variants:
        names = ", ".join(sorted(variants)) or "none"
        raise BenchError(f"--against {against!r}: no run of this variant; choose one of: {names}.")


def write_tables(store: Store, config: TableConfig | None = None, *, intervals: bool = False) -> Tables:
    """Write results.csv, leaderboard.csv, comparison.csv and corruptions.csv from all cells in the store.

    Their hashes are written to tables.sha256, see :mod:`bench.results.table_hashes`.

    Unless ``intervals`` is true, leaderboard.csv contains only the ``DEFAULT_SUFFIXES`` columns of each accuracy. The
    returned leaderboard has all METRIC_SUFFIXES columns.

    Processes that share a folder write one after the other, so that no table lacks cells that an earlier one had.
    """
    with CLAIMS.wait_for(store.root / "claims", "tables"):
        return _write_tables(store, config or TableConfig(), intervals=intervals)


def _write_tables(store: Store, config: TableConfig, *, intervals: bool) -> Tables:
    cells, audits, diagnoses = all_cells(store), all_audits(store), all_diagnoses(store)
    rows, outcomes = board_rows(cells, audits, diagnoses), Outcomes(store, cells)
    accuracies = accuracy_columns(rows)
    board, units = board_table(rows, accuracies, outcomes, config), column_units(metric_columns(rows))
    comparison = comparison_table(rows, accuracies, outcomes, config.against)
    lowest = lowest_accuracies(cells, audits, outcomes)
    dropped = {m + s for m in accuracies for s in METRIC_SUFFIXES if s not in DEFAULT_SUFFIXES and not intervals}
    contents: dict[str, bytes | None] = {
        "results.csv": to_csv(results_table(cells, diagnoses, audits, lowest)),
        "leaderboard.csv": to_csv(rounded(board[[c for c in board if c not in dropped]], units)),
        "comparison.csv": None if comparison.empty else to_csv(rounded(comparison)),
        "corruptions.csv": corruptions_csv(rows),
    }
    expect_tables(store.root, contents)
    for name, content in contents.items():
        _write_or_remove(store.root / name, content)
    record_tables(store.root, contents)
    return Tables(board, comparison, units)


def _write_or_remove(path: Path, content: bytes | None) -> None:
    """Write ``content``. If it is None, delete the file, so that no table of deleted cells remains."""
    if content is not None:
        write_atomic(path, content)
    elif is_file(path):
        path.unlink()


def board_table(
    rows: Sequence[BoardRow],
    accuracies: Sequence[str],
    outcomes: Outcomes,
    config: TableConfig | None = None,
) -> pd.DataFrame:
    """Return the leaderboard with all columns, sorted by data set and rank. Accuracies are in percent.

    ``accuracies`` are the columns of :func:`accuracy_columns`. Raises BenchError if a plug-in metric fails, or if two
    columns have the same name.
    """
    config, metrics, table = config or TableConfig(), metric_columns(rows), []
    columns = _columns(accuracies, metrics)
    splits = {(row.run.dataset, row.data_sha): row for row in rows}
    for _, any_row in sorted(splits.items(), key=lambda split: split[0]):
        group = same_split(any_row, rows)
        for rank, rank_by, row in ranked(group, outcomes, rank_flagged=config.rank_flagged):
            reference = reference_of(row, group, config.against)
            baseline = _own_reference(row) or reference_of(row, group)
            values = metric_values(metrics, MetricInput(row, outcomes, baseline, config))
            values |= accuracy_values(row, reference, accuracies, outcomes) | collapse_values(row, group)
            table.append({**_describe(row, reference, outcomes), "rank": rank, "rank_by": rank_by, **values})
    counts = [f"{accuracy}_n" for accuracy in accuracies]
    counts += [m.column + suffix for m in metrics for suffix in m.entry.suffixes if is_count(suffix)]
    integer_columns = ["rank", "latent_dim", "img_size", "epochs", "n_train", "leaked", *counts]
    return pd.DataFrame(table, columns=columns).astype(dict.fromkeys(integer_columns, "Int64"))


def _columns(accuracies: Sequence[str], metrics: Sequence[MetricColumn]) -> list[str]:
    """Return all columns of the leaderboard. Raises BenchError if two columns have the same name."""
    names = [*LEADERBOARD_COLUMNS, *(name + suffix for name in accuracies for suffix in ("", *METRIC_SUFFIXES))]
    for metric in metrics:
        duplicates = set(names).intersection(metric.columns)
        if duplicates:
            raise BenchError(
                f"metric {metric.name!r} has the column {min(duplicates)!r}, which already exists; rename the metric."
            )
        names += metric.columns
    return names


def accuracy_columns(rows: Sequence[BoardRow]) -> list[str]:
    """Return the accuracy columns: clean, corruptions, then the attacks sorted by strength, name, norm and eps."""
    specs = {column: next(iter(cells.values())).spec for row in rows for column, cells in row.cells.items()}
    attacks = {column: spec.attack for column, spec in specs.items() if spec.corruption is None}

    def key(column: str) -> tuple[Any, ...]:
        attack = attacks[column]
        if attack is None:
            return (0, 0, "", "", 0.0, "")
        return 1, _strength(attack), attack.name, attack.norm, attack.eps, column

    ordered = sorted(attacks, key=key)
    if len(attacks) < len(specs):
        ordered.insert(1 if CLEAN in attacks else 0, CORRUPTIONS_ACC)
    return ordered


def _strength(attack: AttackSpec) -> int:
    """Return the strength for sorting attack columns; STRONGEST for an attack whose plug-in is not loaded."""
    entry = entry_of(attack)
    return STRONGEST if entry is None else entry.strength


def _describe(row: BoardRow, reference: BoardRow | None, outcomes: Outcomes) -> dict[str, Any]:
    run = row.run
    failures = [cell for column in {*row.cells, *row.superseded} for cell in row.failures(column)]
    outdated = len(outdated_columns(row, outcomes))
    subset_note = f"{outdated} of {len(row.cells)} columns on {EQUAL_PER_CLASS}" if outdated else ""
    problems = [f"{len(failures)} {NOT_OK}" if failures else "", subset_note, row.chance()]
    return {
        "dataset": run.dataset,
        "model": run.model,
        "variant": run.variant,
        "reference": reference.run.variant if reference else None,
        "seeds": len(row.seeds),
        "latent_dim": run.latent_dim,
        "schedule": run.spec.variant_spec.schedule if run.spec else None,
        "img_size": run.img_size,
        "param_count": None if run.param_count is None else round(run.param_count / 1e6, 2),
        "epochs": run.epochs,
        "n_train": run.n_train,
        "status": "; ".join(filter(None, problems)) or "ok",
        "leaked": row.leaked(),
        "audit": row.verdict(),
        "config_sha": run.config_sha,
        "data_sha": row.data_sha,
    }


def _own_reference(row: BoardRow) -> BoardRow | None:
    """Return a baseline row, which is its own reference for the mCE; None for other rows."""
    return row if row.run.variant == BASELINE else None
