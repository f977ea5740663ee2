"""Corruption cells of a leaderboard row. All cells of a row are on one set of corrupted images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import CORRUPTIONS, is_standard
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.specs import CorruptionSpec
from bench.core.vocabulary import corruption_column
from bench.leaderboard.corruption_choice import Made, made
from bench.leaderboard.corruption_scores import Accuracies
from bench.leaderboard.rows import BoardRow

STANDARD_KINDS = tuple(kind for kind in CORRUPTIONS if is_standard(kind))
STANDARD_COLUMNS = [corruption_column(kind, level) for kind in STANDARD_KINDS for level in SEVERITY_LEVELS]


def corruptions_of(row: BoardRow) -> list[CorruptionSpec]:
    """Return the CorruptionSpecs of a row, one per column."""
    specs = (next(iter(cells.values())).spec.corruption for cells in row.cells.values())
    return [spec for spec in specs if spec is not None]


def corruption_cells(row: BoardRow) -> list[str]:
    """Return the corruption columns of a row."""
    return [corruption_column(spec.kind, spec.severity) for spec in corruptions_of(row)]


def made_of(row: BoardRow, columns: Iterable[str]) -> set[Made]:
    """Return the sets of corrupted images on which the cells of ``columns`` were evaluated."""
    cells = (cell for column in columns for cell in row.cells.get(column, {}).values())
    return {image_set for cell in cells if (image_set := made(cell)) is not None}


def same_images(row: BoardRow, reference: BoardRow, columns: Sequence[str]) -> bool:
    """Return whether both rows were evaluated on the same corrupted images."""
    specs = (
        {cell.spec.corruption for r in (row, reference) for cell in r.cells[column].values()} for column in columns
    )
    return len(made_of(row, columns) | made_of(reference, columns)) == 1 and all(
        len(cell_specs) == 1 for cell_specs in specs
    )


def standard_cells(row: BoardRow) -> list[str] | None:
    """Return the columns of the 15 standard kinds and 5 severities; None unless all have an accuracy."""
    return None if lacking(row) else STANDARD_COLUMNS


def lacking(row: BoardRow) -> list[str]:
    """Return the standard columns without an accuracy."""
    return [column for column in STANDARD_COLUMNS if row.mean(column) is None]


def all_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Return the accuracies of the ok corruption cells of one seed, as fractions by kind and severity."""
    cells = [row.cells[column][seed] for column in corruption_cells(row) if seed in row.cells[column]]
    return {
        (spec.kind, spec.severity): cell.n_correct / cell.n
        for cell in cells
        if (spec := cell.spec.corruption) is not None and cell.status == "ok" and cell.n_correct is not None
    }
