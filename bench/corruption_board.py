"""What the board says of corruptions: means over the cells of a row, and mCE against a named reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from attacks.corruptions import builtin as builtin  # fills the registry
from attacks.corruptions.registry import CORRUPTIONS, is_standard
from attacks.corruptions.severities import SEVERITY_LEVELS
from bench.board import BoardRow
from bench.core.specs import EvalRecord
from bench.core.vocabulary import BASELINE, CLEAN, CORRUPTION_COLUMNS, corruption_column
from bench.corruption_scores import (
    Accuracies,
    Score,
    by_family,
    by_kind,
    by_severity,
    mean_corruption_error,
    mean_errors,
    relative_mean_corruption_error,
)
from bench.corruption_table import corruptions_table, to_csv
from bench.reference.alexnet import CLEAN_ERROR, MEAN_ERRORS

KIND = "<kind>_acc"  # stands for a column of every kind
SET = "corruptions_set"
ALEXNETS = "imagenet"  # the profile of the images on which its errors were measured
STANDARD_KINDS = tuple(kind for kind in CORRUPTIONS if is_standard(kind))


def corruption_metrics(rows: Iterable[BoardRow]) -> list[str]:
    """The columns for what ``rows`` have: those that are always there, then one for every kind with a cell."""
    kinds = {spec.kind for row in rows for spec in corruptions_of(row)}
    always = [column for column in CORRUPTION_COLUMNS if column != KIND]
    return [*always, *(f"{kind}_acc" for kind in CORRUPTIONS if kind in kinds)] if kinds else []


def corruptions_of(row: BoardRow) -> list[Any]:
    """The CorruptionSpecs of the row's cells, one a column."""
    found = (next(iter(cells.values())).spec.corruption for cells in row.cells.values())
    return [spec for spec in found if spec is not None]


def corruption_cells(row: BoardRow) -> list[str]:
    """The columns of the row that hold corruptions."""
    return [corruption_column(spec.kind, spec.severity) for spec in corruptions_of(row)]


class Made(NamedTuple):
    """What corrupted images must have in common to be averaged over or compared."""

    source: str
    profile: str
    seed: int
    images: int


def made_of(row: BoardRow, columns: Iterable[str]) -> set[Made]:
    cells = (cell for column in columns for cell in row.cells.get(column, {}).values())
    return {made for cell in cells if (made := _made(cell)) is not None}


def _made(cell: EvalRecord) -> Made | None:
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


def corruption_values(row: BoardRow, baseline: BoardRow | None, reference: str) -> dict[str, Any]:
    """Percentages by column; ``corruptions_acc`` is not among them, as it is a metric like the attacks'."""
    means = {(s.kind, s.severity): row.mean(corruption_column(s.kind, s.severity)) for s in corruptions_of(row)}
    known = {cell: mean for cell, mean in means.items() if mean is not None}
    whole = {cell: mean for cell, mean in whole_kinds(known).items() if of_one_set(row, columns_of(cell[0]))}
    values: dict[str, Any] = {f"{kind}_acc": 100 * mean for kind, mean in by_kind(whole).items()} if whole else {}
    values[SET] = "; ".join(sorted({f"{made.source}:{made.profile}" for made in made_of(row, corruption_cells(row))}))
    if standard_cells(row) is None:
        return values
    standard = only_standard(known)
    families = {kind: CORRUPTIONS.get(kind).family for kind in STANDARD_KINDS}
    values |= {f"{family}_acc": 100 * m for family, m in by_family(standard, families).items()}
    values |= {f"severity_{level}_acc": 100 * m for level, m in by_severity(standard).items()}
    return values | _errors(row, baseline, reference)


def columns_of(kind: str) -> list[str]:
    return [corruption_column(kind, level) for level in SEVERITY_LEVELS]


def whole_kinds(accuracies: Accuracies) -> Accuracies:
    """Those of kinds that have all severities."""
    whole = {k for k, _ in accuracies if all((k, level) in accuracies for level in SEVERITY_LEVELS)}
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in whole}


def only_standard(accuracies: Accuracies) -> Accuracies:
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in STANDARD_KINDS}


def _errors(row: BoardRow, baseline: BoardRow | None, reference: str) -> dict[str, Any]:
    """Both mean corruption errors, each seed against its own reference."""
    scores = [_seed_errors(row, baseline, reference, seed) for seed in sorted(row.seeds)]
    values: dict[str, Any] = {"mce_reference": reference}
    notes = []
    for name, found in zip(("mce", "rel_mce"), zip(*scores, strict=True), strict=True):
        reasons = [score.reason for score in found if score.value is None]
        if reasons:
            notes.append(f"{name}: {reasons[0]}")
        else:
            values[name] = sum(score.value for score in found) / len(found)
    return values | ({"mce_note": "; ".join(notes)} if notes else {})


def _seed_errors(row: BoardRow, baseline: BoardRow | None, reference: str, seed: int) -> tuple[Score, Score]:
    mine, clean = seed_accuracies(row, seed), seed_clean(row, seed)
    if reference == BASELINE:
        theirs = standard_cells(baseline) if baseline is not None and seed in baseline.seeds else None
        if baseline is None or theirs is None or not same_images(row, baseline, theirs):
            missing = Score(None, "there is no baseline of this backbone, recipe and seed on all the same images.")
            return missing, missing
        errors, clean_error = mean_errors(seed_accuracies(baseline, seed)), seed_clean(baseline, seed)
        clean_error = None if clean_error is None else 1 - clean_error
    elif any(made.profile != ALEXNETS for made in made_of(row, corruption_cells(row))):
        foreign = Score(None, "AlexNet's errors are those on ImageNet-C, and these images have other constants.")
        return foreign, foreign
    else:
        errors, clean_error = dict(MEAN_ERRORS), CLEAN_ERROR
    relative = (
        Score(None, "there is no clean accuracy on the same images.")
        if clean is None or clean_error is None
        else relative_mean_corruption_error(mine, clean, errors, clean_error)
    )
    return mean_corruption_error(mine, errors), relative


def seed_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Of the standard kinds of one seed, by kind and severity."""
    return only_standard(all_accuracies(row, seed))


def corruptions_csv(rows: Sequence[BoardRow]) -> bytes | None:
    """corruptions.csv: accuracies of every trained model, one row each; None without any corruption.

    A row is called ``model:variant:seed``, and what else tells it from others stands before and after the variant. Of
    a model that was evaluated on several sets of images the largest is in it.
    """
    found: dict[str, Accuracies] = {}
    for row, name in zip(rows, _names(rows), strict=True):
        for seed in sorted(row.seeds):
            accuracies = all_accuracies(row, seed)
            if accuracies:
                found[f"{name}:{seed}"] = accuracies
    kinds = {kind for accuracies in found.values() for kind, _ in accuracies}
    return to_csv(corruptions_table(found, [kind for kind in CORRUPTIONS if kind in kinds])) if found else None


def _names(rows: Sequence[BoardRow]) -> list[str]:
    """``model:variant``, with the data set and the hashes of its test split and of the configuration where needed."""
    sets = {(row.run.dataset, row.data_sha) for row in rows}
    datasets = {dataset for dataset, _ in sets}
    repeats = Counter((row.data_sha, row.run.model, row.run.variant) for row in rows)
    names = []
    for row in rows:
        run = row.run
        before = [run.dataset] if len(datasets) > 1 else []
        before += [row.data_sha] if len([s for s in sets if s[0] == run.dataset]) > 1 else []
        after = [run.config_sha] if repeats[row.data_sha, run.model, run.variant] > 1 else []
        names.append(":".join([*before, run.model, run.variant, *after]))
    return names


def all_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Of one seed, by kind and severity; of several sets of images the one with most cells, and then most images."""
    cells = [row.cells[column][seed] for column in corruption_cells(row) if seed in row.cells[column]]
    counts = Counter(_made(cell) for cell in cells if cell.n_correct is not None)
    largest = max(counts, key=lambda made: (counts[made], made.images if made else 0), default=None)
    return {
        (spec.kind, spec.severity): cell.n_correct / cell.n
        for cell in cells
        if (spec := cell.spec.corruption) is not None and cell.n_correct is not None and _made(cell) == largest
    }


def seed_clean(row: BoardRow, seed: int) -> float | None:
    """The clean accuracy of one seed, if it is over as many images as the corruptions'."""
    clean = row.cells.get(CLEAN, {}).get(seed)
    if clean is None or clean.n_correct is None:
        return None
    counts = {row.cells[column][seed].n for column in corruption_cells(row) if seed in row.cells[column]}
    return clean.n_correct / clean.n if counts == {clean.n} else None
