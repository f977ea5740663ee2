"""The cells of a row that hold corruptions, and whether what they were measured on belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attacks.corruptions import builtin as builtin  # fills the registry
from attacks.corruptions.registry import CORRUPTIONS, is_standard
from attacks.corruptions.severities import SEVERITY_LEVELS
from bench.board import BoardRow
from bench.core.specs import CorruptionSpec, EvalRecord
from bench.core.vocabulary import corruption_column
from bench.corruption_scores import Accuracies

STANDARD_KINDS = tuple(kind for kind in CORRUPTIONS if is_standard(kind))


def corruptions_of(row: BoardRow) -> list[CorruptionSpec]:
    """The CorruptionSpecs of the row's cells, one a column."""
    found = (next(iter(cells.values())).spec.corruption for cells in row.cells.values())
    return [spec for spec in found if spec is not None]


def corruption_cells(row: BoardRow) -> list[str]:
    """The columns of the row that hold corruptions."""
    return [corruption_column(spec.kind, spec.severity) for spec in corruptions_of(row)]


def columns_of(kind: str) -> list[str]:
    return [corruption_column(kind, level) for level in SEVERITY_LEVELS]


class Made(NamedTuple):
    """What corrupted images must have in common to be averaged over or compared."""

    source: str
    profile: str
    seed: int
    images: int


def made_of(row: BoardRow, columns: Iterable[str]) -> set[Made]:
    cells = (cell for column in columns for cell in row.cells.get(column, {}).values())
    return {found for cell in cells if (found := made(cell)) is not None}


def made(cell: EvalRecord) -> Made | None:
    spec = cell.spec.corruption
    return None if spec is None else Made(spec.source, spec.profile, spec.seed, cell.n)


def of_one_set(row: BoardRow, columns: Sequence[str]) -> bool:
    """Whether all columns, over all seeds, are of images that belong together, each of one version and file."""
    specs = ({cell.spec.corruption for cell in row.cells.get(column, {}).values()} for column in columns)
    return len(made_of(row, columns)) == 1 and all(len(found) == 1 for found in specs)


def same_images(row: BoardRow, other: BoardRow, columns: Sequence[str]) -> bool:
    """Whether both rows, each of one set, were evaluated on the same corrupted images."""
    specs = ({cell.spec.corruption for r in (row, other) for cell in r.cells[column].values()} for column in columns)
    return len(made_of(row, columns) | made_of(other, columns)) == 1 and all(len(found) == 1 for found in specs)


def standard_cells(row: BoardRow) -> list[str] | None:
    """The columns of the 15 kinds and 5 severities; None unless all have an accuracy, on images of one set."""
    columns = [corruption_column(kind, level) for kind in STANDARD_KINDS for level in SEVERITY_LEVELS]
    whole = all(row.mean(column) is not None for column in columns)
    return columns if whole and of_one_set(row, columns) else None


def all_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Of one seed, by kind and severity; of several sets of images the one with most cells, and then most images."""
    cells = [row.cells[column][seed] for column in corruption_cells(row) if seed in row.cells[column]]
    counts = Counter(made(cell) for cell in cells if cell.n_correct is not None)
    largest = max(counts, key=lambda m: (counts[m], m.images if m else 0), default=None)
    return {
        (spec.kind, spec.severity): cell.n_correct / cell.n
        for cell in cells
        if (spec := cell.spec.corruption) is not None and cell.n_correct is not None and made(cell) == largest
    }
