"""Precedence among several sets of corrupted images on which a leaderboard row was evaluated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.core.records import EvalRecord
from bench.results.precedence import drawn

Weight = tuple[int, ...]


class Made(NamedTuple):
    """Identity of a set of corrupted images. Accuracies are averaged and compared within one set only."""

    source: str
    profile: str
    seed: int
    images: int
    sampling: int  # version of the sampling that drew these images


class Choice(NamedTuple):
    """Corruption cells that are superseded, and the ids of those that would be selected if their whole set were ok."""

    superseded: list[EvalRecord]
    missed: set[str]


def made(cell: EvalRecord) -> Made | None:
    """Return the set of corrupted images of a cell; None for a cell without a corruption.

    For a cell that was not evaluated, the requested number of images is used.
    """
    spec = cell.spec.corruption
    images = cell.n or cell.spec.limit or cell.n_test
    return None if spec is None else Made(spec.source, spec.profile, spec.seed, images, drawn(cell))


def choose(cells: Iterable[EvalRecord]) -> Choice:
    """Select one set of corrupted images among the cells of one row, over all its seeds.

    Precedence among several sets: most ok cells, then the official one, then the newest version of the sampling, then
    most images, then the latest.
    Within the set, all severities of a kind must have the same version and file. Precedence among several: the newest
    version with an ok cell, then the file with most ok cells, then the latest.
    """
    corrupted = [cell for cell in cells if cell.spec.corruption is not None]
    counting, superseded, missed = _one_of(corrupted, made, _weight_of_set)
    for kind in sorted({_kind(cell) for cell in counting}):
        of_kind = [cell for cell in counting if _kind(cell) == kind]
        _, others, would = _one_of(of_kind, _definition, _weight_of_definition)
        superseded += others
        missed |= would
    return Choice(superseded, missed)


def _one_of(
    cells: Sequence[EvalRecord], group: Callable[[EvalRecord], Any], weigh: Callable[[Any, int], Weight]
) -> tuple[list[EvalRecord], list[EvalRecord], set[str]]:
    """Return the cells of the group with the largest weight, all other cells, and the ids of the missed ones.

    Missed cells are those of a group that would have a larger weight if all of its cells were ok.
    """
    groups: dict[Any, list[EvalRecord]] = defaultdict(list)
    for cell in cells:
        groups[group(cell)].append(cell)
    weights = {name: weigh(name, _places(_ok(found))) for name, found in groups.items()}
    chosen = max(groups, key=lambda name: (weights[name], _latest(groups[name]), name), default=None)
    counting = groups.get(chosen, [])
    others = {name: found for name, found in groups.items() if name != chosen}
    reached = weigh(chosen, _places(_ok(counting) or counting)) if counting else ()
    stronger = [found for name, found in others.items() if weigh(name, _places(found)) > reached]
    missed = {cell.cell_id for found in stronger for cell in found}
    return counting, [cell for found in others.values() for cell in found], missed


def _weight_of_set(images: Made, places: int) -> Weight:
    return places, images.source == "official", images.sampling, images.images


def _weight_of_definition(definition: tuple[int, str, str], places: int) -> Weight:
    version, *_ = definition
    return places > 0, version, places


def _definition(cell: EvalRecord) -> tuple[int, str, str]:
    """Return what determines the corrupted images of a kind: its version, its files and a plug-in's code."""
    spec = cell.spec.corruption
    return (spec.version, spec.files_sha, spec.code_sha) if spec is not None else (0, "", "")


def _kind(cell: EvalRecord) -> str:
    return cell.spec.corruption.kind if cell.spec.corruption is not None else ""


def _ok(cells: Sequence[EvalRecord]) -> list[EvalRecord]:
    return [cell for cell in cells if cell.status == "ok"]


def _places(cells: Iterable[EvalRecord]) -> int:
    """Count the pairs of column and seed. Cells that differ only in the batch size are counted once."""
    return len({(cell.spec.name, cell.spec.seed) for cell in cells})


def _latest(cells: Sequence[EvalRecord]) -> str:
    return max(cell.created for cell in _ok(cells) or cells)
