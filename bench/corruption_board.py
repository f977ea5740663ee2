"""What the board says of corruptions: means over the cells of a row, and mCE against a named reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attacks.corruptions import builtin as builtin  # fills the registry
from attacks.corruptions.registry import CORRUPTIONS
from attacks.corruptions.severities import SEVERITY_LEVELS
from bench.board import BoardRow
from bench.core.vocabulary import BASELINE, CLEAN, CORRUPTION_COLUMNS, corruption_column
from bench.corruption_cells import (
    STANDARD_KINDS,
    all_accuracies,
    columns_of,
    corruption_cells,
    corruptions_of,
    made_of,
    of_one_set,
    same_images,
    standard_cells,
)
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
from bench.reference.alexnet import CLEAN_ERROR, MEAN_ERRORS

KIND = "<kind>_acc"  # stands for a column of every kind
SET = "corruptions_set"
ALEXNETS = "imagenet"  # the profile of the images on which its errors were measured


def corruption_metrics(rows: Iterable[BoardRow]) -> list[str]:
    """The columns for what ``rows`` have: those that are always there, then one for every kind with a cell."""
    kinds = {spec.kind for row in rows for spec in corruptions_of(row)}
    always = [column for column in CORRUPTION_COLUMNS if column != KIND]
    return [*always, *(f"{kind}_acc" for kind in CORRUPTIONS if kind in kinds)] if kinds else []


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


def seed_clean(row: BoardRow, seed: int) -> float | None:
    """The clean accuracy of one seed, if it is over as many images as the corruptions'."""
    clean = row.cells.get(CLEAN, {}).get(seed)
    if clean is None or clean.n_correct is None:
        return None
    counts = {row.cells[column][seed].n for column in corruption_cells(row) if seed in row.cells[column]}
    return clean.n_correct / clean.n if counts == {clean.n} else None
