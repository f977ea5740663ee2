"""Corruption metrics of a leaderboard row: mean accuracies, and mCE relative to a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import CORRUPTIONS
from bench.attacks.corruptions.severities import SEVERITY_LEVELS
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

ALEXNETS = "imagenet"  # profile of the images on which the errors of AlexNet were measured


def image_sets(row: BoardRow) -> str | None:
    """Format source and profile of the corrupted images; None for a row without corruptions."""
    names = {f"{made.source}:{made.profile}" for made in made_of(row, corruption_cells(row))}
    return "; ".join(sorted(names)) or None


def kind_accuracy(row: BoardRow, kind: str) -> float | None:
    """Return the mean accuracy in percent over the severities of one kind; None if any severity has no accuracy."""
    return _percent(by_kind, whole_kinds(_means(row)), kind)


def severity_accuracy(row: BoardRow, level: int) -> float | None:
    """Return the mean accuracy in percent over the standard kinds at one severity; None if any kind has no accuracy."""
    return _percent(by_severity, whole_severities(_means(row)), level)


def family_accuracy(row: BoardRow, family: str) -> float | None:
    """Return the mean accuracy in percent over the standard kinds of one family; None if any kind has no accuracy."""
    families = {kind: CORRUPTIONS.get(kind).family for kind in STANDARD_KINDS}
    return _percent(lambda acc: by_family(acc, families), whole_families(_means(row), families), family)


def _means(row: BoardRow) -> Accuracies:
    """Return the means over seeds of accuracies that all seeds have, as fractions by kind and severity."""
    means = {(s.kind, s.severity): row.mean(corruption_column(s.kind, s.severity)) for s in corruptions_of(row)}
    return {cell: mean for cell, mean in means.items() if mean is not None}


def _percent(mean: Callable[[Accuracies], Mapping[Any, float]], accuracies: Accuracies, group: Any) -> float | None:
    value = mean(accuracies).get(group) if accuracies else None
    return None if value is None else 100 * value


def whole_kinds(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the kinds with an accuracy at every severity."""
    complete = {k for k, _ in accuracies if all((k, level) in accuracies for level in SEVERITY_LEVELS)}
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in complete}


def whole_families(accuracies: Accuracies, families: Mapping[str, str]) -> Accuracies:
    """Return the accuracies of families without a missing kind or severity. ``families`` maps kind to family."""
    complete = whole_kinds(accuracies)
    lacking = {families[kind] for kind in families if (kind, SEVERITY_LEVELS[0]) not in complete}
    return {cell: value for cell, value in complete.items() if cell[0] in families and families[cell[0]] not in lacking}


def whole_severities(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the standard kinds at severities at which all standard kinds have an accuracy."""
    levels = [level for level in SEVERITY_LEVELS if all((kind, level) in accuracies for kind in STANDARD_KINDS)]
    return {(kind, level): accuracies[kind, level] for kind in STANDARD_KINDS for level in levels}


def only_standard(accuracies: Accuracies) -> Accuracies:
    """Return the accuracies of the standard kinds."""
    return {(kind, level): value for (kind, level), value in accuracies.items() if kind in STANDARD_KINDS}


def corruption_errors(row: BoardRow, baseline: BoardRow | None, reference: str) -> dict[str, float | str]:
    """Return ``mce``, ``rel_mce``, ``mce_reference`` and ``mce_note``: errors in percent, or the reason if missing.

    ``reference`` is "baseline" or "alexnet", and ``baseline`` is the paired baseline. Each seed has its own reference.
    """
    if not corruptions_of(row):
        return {}
    if missing := lacking(row):
        n_standard = len(STANDARD_COLUMNS)
        reason = (
            f"{n_standard - len(missing)} of the {n_standard} standard cells have an accuracy for every seed on one set"
        )
        return {"mce_note": f"mce, rel_mce: {reason} of images; {missing[0]} has none."}
    scores = [_seed_errors(row, baseline, reference, seed) for seed in sorted(row.seeds)]
    values: dict[str, float | str] = {"mce_reference": reference}
    notes = []
    for name, seed_scores in zip(("mce", "rel_mce"), zip(*scores, strict=True), strict=True):
        reasons = [score.reason for score in seed_scores if score.value is None]
        if reasons:
            notes.append(f"{name}: {reasons[0]}")
        else:
            values[name] = sum(score.value for score in seed_scores) / len(seed_scores)
    if row.chance():
        notes.append(f"clean is {row.chance()}")
    return values | ({"mce_note": "; ".join(notes)} if notes else {})


def _seed_errors(row: BoardRow, baseline: BoardRow | None, reference: str, seed: int) -> tuple[Score, Score]:
    accuracies, clean = seed_accuracies(row, seed), seed_clean(row, seed)
    if reference == BASELINE:
        baseline_columns = standard_cells(baseline) if baseline is not None and seed in baseline.seeds else None
        if baseline is not None and seed in baseline.seeds_at_chance():
            at_chance = Score(
                None, f"the baseline is {CHANCE} on clean images, so that its errors cannot be the reference."
            )
            return at_chance, at_chance
        if baseline is None or baseline_columns is None or not same_images(row, baseline, baseline_columns):
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
        else relative_mean_corruption_error(accuracies, clean, errors, clean_error)
    )
    return mean_corruption_error(accuracies, errors), relative


def seed_accuracies(row: BoardRow, seed: int) -> Accuracies:
    """Return the accuracies of one seed under the standard kinds, as fractions by kind and severity."""
    return only_standard(all_accuracies(row, seed))


def seed_clean(row: BoardRow, seed: int) -> float | None:
    """Return the clean accuracy of one seed as a fraction; None if a corruption has another number of images."""
    clean = row.cells.get(CLEAN, {}).get(seed)
    if clean is None or clean.n_correct is None:
        return None
    counts = {row.cells[column][seed].n for column in corruption_cells(row) if seed in row.cells[column]}
    return clean.n_correct / clean.n if counts == {clean.n} else None
