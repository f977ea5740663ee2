"""Convert the rows of a results folder to lines that can be compared or exported.

A row gives one line per attacked budget, one line for corruptions and one line for DeepFool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from bench.compare.rows import AUTOATTACK, CORRUPTIONS, DEEPFOOL, Line, Protocol
from bench.compare.training import training_of
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import EvalSpec, fingerprint
from bench.core.vocabulary import CLEAN, STANDARD
from bench.core.words import pluralize
from bench.leaderboard.collapse import row_collapse
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS, STANDARD_KINDS, corruption_cells, lacking
from bench.leaderboard.corruption_choice import made
from bench.leaderboard.lowest_known import attacks_at, lowest_known, tried
from bench.leaderboard.references import same_split
from bench.leaderboard.rows import BoardRow, board_rows, row_names, subset_of
from bench.results.outcomes import Outcomes, common_images
from bench.results.results_csv import Budget, all_audits, all_cells, all_diagnoses
from bench.results.store import Store

RHO = "deepfool_rho_authors"  # column of the ratio in the published definition
ROUNDING = 1e-6  # tolerance for rounding errors, in images


def our_lines(
    rows: Sequence[BoardRow], names: Sequence[str], outcomes: Outcomes, group: Sequence[BoardRow]
) -> list[Line]:
    """Return the lines of ``rows`` that can be compared with published numbers.

    All rows must be on one test split. ``names`` are the names of the rows. Robust accuracies are the lowest known
    robust accuracies, computed from the per-image ``outcomes``. ``group`` are all rows of the split, including the
    collapse references.
    """
    choices, lines = _choices(rows), list[Line]()
    for row, name in zip(rows, names, strict=True):
        of_budgets = (next((c for c in columns if c in row.cells), None) for columns in choices)
        attacked = [(_attacked(row, name, column, outcomes), column) for column in of_budgets if column is not None]
        of_row = [_lowest(line, row, column, outcomes) for line, column in attacked]
        of_row += [_corrupted(row, name, outcomes)] if row.corrupted() else []
        of_row += _deepfool(row, name)
        status = row_collapse(row, group)
        collapse = "" if status is None else status.text
        lines += [dataclasses.replace(line, collapse=collapse, leaked=row.leaked()) for line in of_row]
    return lines


def _choices(rows: Sequence[BoardRow]) -> list[list[str]]:
    """List the columns of all rows per budget, by precedence. For each row, the first column of the row is used.

    The order is: AutoAttack in the standard protocol, even if it failed; AutoAttack in another protocol; all other
    columns. The other columns are sorted by the number of rows with an accuracy (descending), then by their mean
    accuracy (ascending).
    """
    budgets: dict[tuple[str, float], dict[str, EvalSpec]] = {}
    for row in rows:
        for column, cells in row.cells.items():
            spec = next(iter(cells.values())).spec
            if spec.attack is not None:
                budgets.setdefault((spec.attack.norm, spec.attack.eps), {})[column] = spec

    def key(item: tuple[str, EvalSpec]) -> tuple[bool, bool, int, float, str]:
        column, spec = item
        means = [mean for row in rows if (mean := row.mean(column)) is not None]
        is_autoattack = spec.attack is not None and spec.attack.label == AUTOATTACK
        plain = is_autoattack and spec.protocol == STANDARD
        return not plain, not is_autoattack, -len(means), fmean(means) if means else 1.0, column

    return [[column for column, _ in sorted(budgets[budget].items(), key=key)] for budget in sorted(budgets)]


def _attacked(row: BoardRow, name: str, column: str, outcomes: Outcomes) -> Line:
    cells = list(row.cells[column].values())
    spec, attack = cells[0].spec, cells[0].spec.attack
    assert attack is not None
    bf16 = any(cell.spec.attack is not None and cell.spec.attack.precision == "bf16" for cell in cells)
    protocol = Protocol(
        dataset=row.run.dataset,
        n=_images(cells),
        subset=subset_of(cells, outcomes),
        n_clean=row.images(CLEAN),
        official=_official(row, cells),
        measure=attack.label,
        norm=attack.norm,
        eps=attack.eps,
        protocol=spec.protocol,
        precision="bf16" if bf16 else "fp32",
    )
    backends = sorted({f"{cell.backend} {cell.backend_version}".strip() for cell in cells if cell.status == "ok"})
    audit = row.verdict() or "none"
    computed = (f"computed by {', '.join(backends)}", f"audit: {audit}") if backends else ()
    robust = _percent(row.mean(column))
    line = _line(row, name, protocol, robust, row.flags(column), (*_failures(row, [column]), *computed))
    definition = fingerprint(sorted({fingerprint(cell.spec.attack) for cell in cells}))
    return dataclasses.replace(
        line, definition=definition, acquitted=row.acquitted(column), audit_lacks=row.audit_lacks()
    )


def _lowest(line: Line, row: BoardRow, column: str, outcomes: Outcomes) -> Line:
    """Return the line with the lowest known robust accuracy on the images of its attack, if it is lower."""
    attack = next(iter(row.cells[column].values())).spec.attack
    if attack is None or line.robust is None:
        return line
    line = dataclasses.replace(line, alone=line.robust, tried=tried(row, attack.norm))
    budget, ids = Budget(attack.norm, attack.eps), common_images([outcomes.of(c) for c in row.cells[column].values()])
    lowest = lowest_known(row, budget, outcomes, ids)
    if lowest is None or lowest.right.sum() >= lowest.right.size * (row.mean(column) or 0) - ROUNDING:
        return line
    flags = tuple(
        sorted({*line.flags, *(flag for attack_column in attacks_at(row, budget) for flag in row.flags(attack_column))})
    )
    measure = "AutoAttack" if line.protocol.measure == AUTOATTACK else line.protocol.measure
    notes = (*line.notes, f"lowest known: {measure} leaves {line.robust:.2f}; broken by {lowest.broken_by()}")
    alone = line.robust if line.protocol.measure == AUTOATTACK else None
    return dataclasses.replace(line, robust=lowest.percent, autoattack=alone, flags=flags, notes=notes)


def _corrupted(row: BoardRow, name: str, outcomes: Outcomes) -> Line:
    columns, missing = corruption_cells(row), lacking(row)
    cells = [cell for column in columns for cell in row.cells[column].values()]
    images = next((source for cell in cells if (source := made(cell)) is not None), None)
    protocol = Protocol(
        dataset=row.run.dataset,
        n=None if images is None else images.images,
        subset=subset_of(cells, outcomes),
        n_clean=row.images(CLEAN),
        official=_official(row, cells),
        measure=CORRUPTIONS,
        source="" if images is None else images.source,
        profile=images.profile if images is not None and images.source == "generated" else "",
        cells=len(STANDARD_COLUMNS) - len(missing),
    )
    flags = sorted({flag for column in columns for flag in row.flags(column)})
    means = [mean for column in STANDARD_COLUMNS if (mean := row.mean(column)) is not None]
    robust = None if missing else 100 * fmean(means)
    line = _line(row, name, protocol, robust, flags, _failures(row, sorted(row.corrupted())))
    return dataclasses.replace(line, definition=_definition(cells))


def _definition(cells: Iterable[EvalRecord]) -> str:
    """Return a hash of the settings that determine the corrupted images of the standard kinds, without severities."""
    corruptions = (cell.spec.corruption for cell in cells)
    standard = (spec for spec in corruptions if spec is not None and spec.kind in STANDARD_KINDS)
    return fingerprint(sorted({fingerprint({**spec.identity(), "severity": 0}) for spec in standard}))


def _deepfool(row: BoardRow, name: str) -> Iterator[Line]:
    records = [record for record in row.diagnoses.values() if record.values.get(RHO) is not None]
    values = [value for record in records if (value := record.values.get(RHO)) is not None]
    if not values:
        return
    counts = {record.images.get("deepfool_n") for record in records}
    protocol = Protocol(
        dataset=row.run.dataset,
        n=counts.pop() if len(counts) == 1 else None,
        n_clean=row.images(CLEAN),
        official=_official(row, []),
        measure=DEEPFOOL,
        norm="l2",
    )
    notes = () if len(values) == len(row.seeds) else (f"mean over {pluralize(len(values), 'seed')} only",)
    yield _line(row, name, protocol, fmean(values), [], notes)


def _line(
    row: BoardRow, name: str, protocol: Protocol, robust: float | None, flags: Sequence[str], notes: Iterable[str]
) -> Line:
    seeds = sorted(row.seeds)
    return Line(
        published=False,
        model=name,
        architecture=row.run.model,
        source=f"here, seed {seeds[0]}" if len(seeds) == 1 else f"here, mean of {len(seeds)} seeds",
        clean=_percent(row.mean(CLEAN)),
        robust=robust,
        protocol=protocol,
        flags=tuple(flags),
        at_chance=bool(row.chance()),
        notes=tuple(filter(None, (row.chance(), *notes))),
        training=training_of(row.run),
    )


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _failures(row: BoardRow, columns: Sequence[str]) -> list[str]:
    """Return the reason for a missing number: failed cells, or different numbers of images."""
    failed = [cell for column in columns for cell in row.failures(column)]
    if failed:
        reasons = sorted({f"{cell.status}: {cell.reason}" for cell in failed})
        return [f"{pluralize(len(failed), 'cell')} not ok ({', '.join(reasons)})"]
    if len(columns) == 1 and row.mean(columns[0]) is None:
        return ["not all seeds have a result on the same number of images"]
    return []


def _images(cells: Sequence[EvalRecord]) -> int:
    """Return the smallest number of images of the cells. Cells without evaluation count with the requested number."""
    return min(cell.n or cell.spec.limit or cell.n_test for cell in cells)


def _official(row: BoardRow, cells: Sequence[EvalRecord]) -> bool:
    return all(cell.official for cell in (*cells, *row.cells.get(CLEAN, {}).values()))


class Stored(NamedTuple):
    """Contents of a results folder."""

    rows: list[BoardRow]  # rows to compare or export: all rows of the board, or one row per test split of one run
    board: list[BoardRow]  # all rows of the board, including the collapse references
    outcomes: Outcomes


def stored_rows(store: Store, run: RunRecord | None = None) -> Stored:
    """Read the rows of the board. With ``run``, also build rows of this run alone, without the other seeds."""
    cells, audits, diagnoses = all_cells(store), all_audits(store), all_diagnoses(store)
    board = board_rows(cells, audits, diagnoses)
    own_cells = [(record, cell) for record, cell in cells if run is not None and record.run_id == run.run_id]
    return Stored(board if run is None else board_rows(own_cells, audits, diagnoses), board, Outcomes(store, cells))


def stored_lines(store: Store, run: RunRecord | None = None) -> list[tuple[str, Line]]:
    """Return pairs of test split hash and line. With ``run``, return only its lines, see :func:`stored_rows`."""
    stored, lines = stored_rows(store, run), []
    for (_, data_sha), named in _by_split(stored.rows).items():
        names, rows = list(named), list(named.values())
        group = same_split(rows[0], stored.board)
        lines += [(data_sha, line) for line in our_lines(rows, names, stored.outcomes, group)]
    return lines


def _by_split(rows: list[BoardRow]) -> dict[tuple[str, str], dict[str, BoardRow]]:
    """Group the rows by data set and test split hash. Each group maps names to rows."""
    splits: dict[tuple[str, str], dict[str, BoardRow]] = {}
    for row, name in zip(rows, row_names(rows), strict=True):
        splits.setdefault((row.run.dataset, row.data_sha), {})[name] = row
    return splits
