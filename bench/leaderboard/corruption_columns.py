"""Leaderboard columns of corruptions: means over the cells of a row, and mCE against a named reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.columns import CORRUPTION_COLUMNS
from bench.core.vocabulary import BASELINE, CLEAN, corruption_column
from bench.leaderboard.corruption_cells import (
    STANDARD_COLUMNS,
    STANDARD_KINDS,
    all_accuracies,
    corruption_cells,
    corruptions_of,
    lacking,
    made_of,
    same_images,
    standard_cells,
)
from bench.leaderboard.corruption_scores import (
    CLEAN_ERROR,
    MEAN_ERRORS,
    Accuracies,
    Score,
    by_family,
    by_kind,
    by_severity,
    mean_corruption_error,
    mean_errors,
    relative_mean_corruption_error,
)
from bench.leaderboard.rows import BoardRow
from bench.results.chance_level import CHANCE

KIND = "<kind>_acc"  # placeholder for one column per kind
SET = "corruptions_set"
ALEXNETS = "imagenet"  # profile of the images on which the errors of AlexNet were measured


def corruption_metrics(rows: Iterable[BoardRow]) -> list[str]:
    """Return the corruption columns of the board: the fixed ones, then one per kind with a cell; empty without any."""
    kinds = {spec.kind for row in rows for spec in corruptions_of(row)}
    always = [column for column in CORRUPTION_COLUMNS if column != KIND]
    return [*always, *(f"{kind}_acc" for kind in sorted(kinds))] if kinds else []


def corruption_values(row: BoardRow, baseline: BoardRow | None, reference: str) -> dict[str, Any]:
    """Return the corruption columns of one row, accuracies in percent.

    ``corruptions_acc`` is not included: it is a metric with intervals, as the attacks are. ``reference`` names the
    reference of the mCE, and ``baseline`` is the paired baseline.
    """
    means = {(s.kind, s.severity): row.mean(corruption_column(s.kind, s.severity)) for s in corruptions_of(row)}
    known = {cell: mean for cell, mean in means.items() if mean is not None}
    families = {kind: CORRUPTIONS.get(kind).family for kind in STANDARD_KINDS}
    of_families, of_levels = whole_families(known, families), whole_severities(known)
    values: dict[str, Any] = {f"{kind}_acc": 100 * m for kind, m in _by(by_kind, whole_kinds(known)).items()}
    values |= {f"{f}_acc": 100 * m for f, m in _by(lambda acc: by_family(acc, families), of_families).items()}
    values |= {f"severity_{level}_acc": 100 * m for level, m in _by(by_severity, of_levels).items()}
    values[SET] = "; ".join(sorted({f"{made.source}:{made.profile}" for made in made_of(row, corruption_cells(row))}))
    return values | _errors(row, baseline, reference)


def _by(mean: Callable[[Accuracies], Mapping[Any, float]], accuracies: Accuracies) -> Mapping[Any, float]:
    return mean(accuracies) if accuracies else {}


def whole_kinds(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the kinds that have all severities."""
    whole = {k for k, _ in accuracies if all((k, level) in accuracies for level in SEVERITY_LEVELS)}
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in whole}


def whole_families(accuracies: Accuracies, families: Mapping[str, str]) -> Accuracies:
    """Return the accuracies of families in which all kinds have all severities; ``families`` maps kind to family."""
    whole = whole_kinds(accuracies)
    lacking = {families[kind] for kind in families if (kind, SEVERITY_LEVELS[0]) not in whole}
    return {cell: value for cell, value in whole.items() if cell[0] in families and families[cell[0]] not in lacking}


def whole_severities(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the standard kinds at the severities that all standard kinds have."""
    levels = [level for level in SEVERITY_LEVELS if all((kind, level) in accuracies for kind in STANDARD_KINDS)]
    return {(kind, level): accuracies[kind, level] for kind in STANDARD_KINDS for level in levels}


def only_standard(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the standard kinds."""
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in STANDARD_KINDS}


def _errors(row: BoardRow, baseline: BoardRow | None, reference: str) -> dict[str, Any]:
    """Return the columns of mCE and relative mCE, or the note why they are missing. Each seed has its own reference."""
    if missing := lacking(row):
        wanted = len(STANDARD_COLUMNS)
        why = f"{wanted - len(missing)} of the {wanted} standard cells have an accuracy for every seed on one set"
        return {"mce_note": f"mce, rel_mce: {why} of images; {missing[0]} has none."}
    scores = [_seed_errors(row, baseline, reference, seed) for seed in sorted(row.seeds)]
    values: dict[str, Any] = {"mce_reference": reference}
    notes = []
    for name, found in zip(("mce", "rel_mce"), zip(*scores, strict=True), strict=True):
        reasons = [score.reason for score in found if score.value is None]
        if reasons:
            notes.append(f"{name}: {reasons[0]}")
        else:
            values[name] = sum(score.value for score in found) / len(found)
    if row.chance():
        notes.append(f"clean is {row.chance()}")
    return values | ({"mce_note": "; ".join(notes)} if notes else {})


def _seed_errors(row: BoardRow, baseline: BoardRow | None, reference: str, seed: int) -> tuple[Score, Score]:
    mine, clean = seed_accuracies(row, seed), seed_clean(row, seed)
    if reference == BASELINE:
        theirs = standard_cells(baseline) if baseline is not None and seed in baseline.seeds else None
        if baseline is not None and seed in baseline.seeds_at_chance():
            at_chance = Score(None, f"the baseline is {CHANCE} on clean images, so its errors cannot be the reference.")
            return at_chance, at_chance
        if baseline is None or theirs is None or not same_images(row, baseline, theirs):
            missing = Score(None, "no baseline with this backbone, recipe and seed on the same images.")
            return missing, missing
        errors, clean_error = mean_errors(seed_accuracies(baseline, seed)), seed_clean(baseline, seed)
        clean_error = None if clean_error is None else 1 - clean_error
    elif any(made.profile != ALEXNETS for made in made_of(row, corruption_cells(row))):
        foreign = Score(None, "the errors of AlexNet are for ImageNet-C; these images were corrupted differently.")
        return foreign, foreign
    else:
        errors, clean_error = dict(MEAN_ERRORS), CLEAN_ERROR
    relative = (
        Score(None, "no clean accuracy on the same images.")
        if clean is None or clean_error is None
        else relative_mean_corruption_error(mine, clean, errors, clean_error)
    )
    return mean_corruption_error(mine, errors), relative


def seed_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Return the accuracies of one seed under the standard kinds, as fractions by kind and severity."""
    return only_standard(all_accuracies(row, seed))


def seed_clean(row: BoardRow, seed: int) -> float | None:
    """Return the clean accuracy of one seed, a fraction; None unless it is on as many images as all its corruptions."""
    clean = row.cells.get(CLEAN, {}).get(seed)
    if clean is None or clean.n_correct is None:
        return None
    counts = {row.cells[column][seed].n for column in corruption_cells(row) if seed in row.cells[column]}
    return clean.n_correct / clean.n if counts == {clean.n} else None
