"""corruptions.csv: every trained model's accuracies under corruptions, in RobustBench's form."""

from __future__ import annotations

from collections.abc import Sequence

from bench.tables.board import BoardRow, row_names
from bench.tables.corruption_cells import all_accuracies
from bench.tables.corruption_scores import Accuracies
from bench.tables.corruption_table import corruptions_table, to_csv


def corruptions_csv(rows: Sequence[BoardRow]) -> bytes | None:
    """corruptions.csv: accuracies of every trained model, one row each; None without any corruption.

    A row is called ``model:variant:seed``, and what else tells it from others stands before and after the variant. Its
    cells are those of the board: of a row that was evaluated on several sets of images one set counts.
    """
    found: dict[str, Accuracies] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        for seed in sorted(row.seeds):
            accuracies = all_accuracies(row, seed)
            if accuracies:
                found[f"{name}:{seed}"] = accuracies
    kinds = {kind for accuracies in found.values() for kind, _ in accuracies}
    return to_csv(corruptions_table(found, sorted(kinds))) if found else None
