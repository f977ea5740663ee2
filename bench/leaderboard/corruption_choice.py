"""Precedence among several sets of corrupted images on which a row of the leaderboard was evaluated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.core.records import EvalRecord
from bench.results.precedence import drawn

Weight = tuple[int, ...]


class Made(NamedTuple):
    """Properties that corrupted images must share to form one set: only within a set are they averaged or compared."""

    source: str
    profile: str
    seed: int
    images: int
    sampling: int  # version of how these images were drawn


class Choice(NamedTuple):
    """Cells of corruptions that do not count, and the ids of those that would if all of theirs were ok."""

    outdone: list[EvalRecord]
    missed: set[str]


def made(cell: EvalRecord) -> Made | None:
    """A cell that was not tried has no images, but was meant to have some."""
    spec = cell.spec.corruption
    images = cell.n or cell.spec.limit or cell.n_test
    return None if spec is None else Made(spec.source, spec.profile, spec.seed, images, drawn(cell))


def choose(cells: Iterable[EvalRecord]) -> Choice:
    """Choose the corrupted images that count among the cells of one row, over all its seeds.

    One set counts. Precedence among several: most ok cells, then the official one, then the newest version of the
    sampling, then most images, then the latest.
    Within the set, all severities of a kind have one definition and one file. Precedence among several: the newest
    definition with an ok cell, then the file with most ok cells, then the latest.
    """
    corrupted = [cell for cell in cells if cell.spec.corruption is not None]
    counting, outdone, missed = _one_of(corrupted, made, _weight_of_set)
    for kind in sorted({_kind(cell) for cell in counting}):
        of_kind = [cell for cell in counting if _kind(cell) == kind]
        _, others, would = _one_of(of_kind, _file, _weight_of_file)
        outdone += others
        missed |= would
    return Choice(outdone, missed)


def _one_of(
    cells: Sequence[EvalRecord], group: Callable[[EvalRecord], Any], weigh: Callable[[Any, int], Weight]
) -> tuple[list[EvalRecord], list[EvalRecord], set[str]]:
    """The cells of the group that weighs most, all others, and the ids of those that would if all were ok."""
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


def _weight_of_file(file: tuple[int, str], places: int) -> Weight:
    version, _ = file
    return places > 0, version, places


def _file(cell: EvalRecord) -> tuple[int, str]:
    spec = cell.spec.corruption
    return (spec.version, spec.files_sha) if spec is not None else (0, "")


def _kind(cell: EvalRecord) -> str:
    return cell.spec.corruption.kind if cell.spec.corruption is not None else ""


def _ok(cells: Sequence[EvalRecord]) -> list[EvalRecord]:
    return [cell for cell in cells if cell.status == "ok"]


def _places(cells: Iterable[EvalRecord]) -> int:
    """A cell that was computed again with another batch size is one more in the same place."""
    return len({(cell.spec.name, cell.spec.seed) for cell in cells})


def _latest(cells: Sequence[EvalRecord]) -> str:
    return max(cell.created for cell in _ok(cells) or cells)
