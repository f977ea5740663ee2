"""Select one set of corrupted images if a leaderboard row was evaluated on several sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.core.records import EvalRecord
from bench.results.precedence import drawn

Weight = tuple[int, ...]


class Made(NamedTuple):
    """Identity of a set of corrupted images. Accuracies are averaged and compared only within one set."""

    source: str
    profile: str
    seed: int
    images: int
    sampling: int  # version of the sampling that drew these images


class Choice(NamedTuple):
    """Superseded corruption cells, and the ids of cells that would be selected if all cells of their set were ok."""

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

    Precedence among sets: most ok cells, then official images, then the newest version of the sampling, then most
    images, then the latest cell.

    Within the set, all severities of a kind must have the same version and file. Precedence among versions and files:
    the newest version with an ok cell, then the file with most ok cells, then the latest cell.
    """
    corrupted = [cell for cell in cells if cell.spec.corruption is not None]
    selected, superseded, missed = _one_of(corrupted, made, _weight_of_set)
    for kind in sorted({_kind(cell) for cell in selected}):
        of_kind = [cell for cell in selected if _kind(cell) == kind]
        _, others, kind_missed = _one_of(of_kind, _definition, _weight_of_definition)
        superseded += others
        missed |= kind_missed
    return Choice(superseded, missed)


def _one_of(
    cells: Sequence[EvalRecord], group: Callable[[EvalRecord], Any], weigh: Callable[[Any, int], Weight]
) -> tuple[list[EvalRecord], list[EvalRecord], set[str]]:
    """Return the cells of the group with the largest weight, all other cells, and the ids of missed cells.

    Missed cells belong to a group that would have a larger weight if all of its cells were ok.
    """
    groups: dict[Any, list[EvalRecord]] = defaultdict(list)
    for cell in cells:
        groups[group(cell)].append(cell)
    weights = {name: weigh(name, _places(_ok(members))) for name, members in groups.items()}
    chosen = max(groups, key=lambda name: (weights[name], _latest(groups[name]), name), default=None)
    selected = groups.get(chosen, [])
    others = {name: members for name, members in groups.items() if name != chosen}
    selected_weight = weigh(chosen, _places(_ok(selected) or selected)) if selected else ()
    stronger_groups = [members for name, members in others.items() if weigh(name, _places(members)) > selected_weight]
    missed = {cell.cell_id for members in stronger_groups for cell in members}
    return selected, [cell for members in others.values() for cell in members], missed


def _weight_of_set(images: Made, n_cells: int) -> Weight:
    return n_cells, images.source == "official", images.sampling, images.images


def _weight_of_definition(definition: tuple[int, str, str], n_cells: int) -> Weight:
    version, *_ = definition
    return n_cells > 0, version, n_cells


def _definition(cell: EvalRecord) -> tuple[int, str, str]:
    """Return the definition of a corruption: its version, hash of files, and hash of plug-in code."""
    spec = cell.spec.corruption
    return (spec.version, spec.files_sha, spec.code_sha) if spec is not None else (0, "", "")


def _kind(cell: EvalRecord) -> str:
    return cell.spec.corruption.kind if cell.spec.corruption is not None else ""


def _ok(cells: Sequence[EvalRecord]) -> list[EvalRecord]:
    return [cell for cell in cells if cell.status == "ok"]


def _places(cells: Iterable[EvalRecord]) -> int:
    """Count the different pairs of column and seed. Cells that differ only in the batch size are counted once."""
    return len({(cell.spec.name, cell.spec.seed) for cell in cells})


def _latest(cells: Sequence[EvalRecord]) -> str:
    return max(cell.created for cell in _ok(cells) or cells)
