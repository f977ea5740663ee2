"""Build comparison tables of own lines under one protocol and published lines of the same kind.

Each protocol of the own rows has its own table, so that all own lines in a table can be ranked together. A published
line is ranked if its protocol matches. Otherwise it is shown without rank and with the mismatches. A published line of
one recipe is shown only if an own line of the table has the same training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.compare.rows import AUTOATTACK, CORRUPTIONS, DEEPFOOL, Line, Protocol, mismatches
from bench.core.words import join, pluralize

BY_ALONE = "ranked by {:.2f}, under the attack of the table alone: our rows have different attacks or audits"
DIGITS = 8  # number of digits of a definition's hash in a title
RATIO = "Rows are not ranked by the DeepFool distance, since it is not a worst case"


@dataclass(frozen=True)
class RankedRow:
    """Line in a table with its rank. ``reasons`` are the mismatches that make the line incomparable with own lines."""

    line: Line
    rank: int | None
    reasons: tuple[str, ...] = ()
    by_alone: bool = False  # true if the rank is by the accuracy under the attack of the table alone

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the number and on its rank."""
        alone = self.line.alone if self.by_alone and self.rank is not None else None
        return (*self.line.network_notes, *self.line.notes, *([] if alone is None else [BY_ALONE.format(alone)]))

    @property
    def note(self) -> str:
        """Text of the last column."""
        refused = [f"not comparable: {'; '.join(self.reasons)}"] if self.reasons else []
        return ". ".join([*refused, *self.notes])


@dataclass(frozen=True)
class Table:
    """Comparison table of one protocol."""

    title: str
    summary: str  # sentence with the number of comparable published lines
    placed: tuple[RankedRow, ...]  # ranked rows first


def compare(own: Iterable[tuple[str, Line]], published: Sequence[Line]) -> list[Table]:
    """Return one table per protocol and test split of ``own``, the pairs of test split hash and line.

    The titles of the tables are unique.
    """
    groups: dict[Group, list[Line]] = {}
    for data_sha, line in own:
        groups.setdefault(Group(data_sha, line.protocol, line.definition), []).append(line)
    return [
        _table(group.protocol, _suffix(group, groups), lines, _matching_lines(group.protocol, published))
        for group, lines in groups.items()
    ]


class Group(NamedTuple):
    """Common properties of the own lines of one table.

    Own rows with different attacks of the same name, or different corrupted images, are in different tables, because
    the leaderboard does not rank them together either.
    """

    data_sha: str
    protocol: Protocol
    definition: str


def _suffix(group: Group, groups: Collection[Group]) -> str:
    """Return a suffix that distinguishes tables with equal titles: test split, and hash of the definition."""
    same_title = [candidate for candidate in groups if candidate.protocol.title == group.protocol.title]
    split = f", split {group.data_sha}" if len({candidate.data_sha for candidate in same_title}) > 1 else ""
    has_several = len([candidate for candidate in same_title if candidate.data_sha == group.data_sha]) > 1
    return split + (f", definition {group.definition[:DIGITS]}" if has_several else "")


def _kind(protocol: Protocol) -> str:
    """Return the kind of a protocol: corruptions, DeepFool, or any attack within a budget."""
    return protocol.measure if protocol.measure in (CORRUPTIONS, DEEPFOOL) else AUTOATTACK


def _matching_lines(own: Protocol, published: Sequence[Line]) -> list[Line]:
    """Return the published lines of the same kind as ``own``.

    If some of these lines have the same norm, the other lines are left out. Then, if some of the remaining lines have
    the same data set, the other lines are left out.
    """
    same_kind = [line for line in published if _kind(line.protocol) == _kind(own)]
    for field in ("norm", "dataset"):
        same = [line for line in same_kind if getattr(line.protocol, field) == getattr(own, field)]
        same_kind = same or same_kind
    return same_kind


def _table(protocol: Protocol, suffix: str, own: Sequence[Line], candidates: Sequence[Line]) -> Table:
    published = [line for line in candidates if _is_beside(line, own)]
    left_out = [line for line in candidates if not _is_beside(line, own)]
    reasons = [tuple(mismatches(protocol, line.protocol)) for line in published]
    agreeing = [line for line, why in zip(published, reasons, strict=True) if not why]
    by_alone = len({line.tried for line in own if _is_ranked(line)}) > 1
    ranks = {} if protocol.measure == DEEPFOOL else _ranks([*own, *agreeing], by_alone=by_alone)
    lines = [(line, ()) for line in own] + list(zip(published, reasons, strict=True))
    placed = [RankedRow(line, ranks.get(id(line)), why, by_alone) for line, why in lines]
    placed.sort(key=lambda p: (p.rank is None, p.rank or 0, p.line.published, bool(p.reasons)))
    return Table(protocol.title + suffix, _summary(protocol, reasons, left_out), tuple(placed))


def _is_beside(published: Line, own: Sequence[Line]) -> bool:
    """Return whether ``published`` belongs to no recipe, or a line of ``own`` has the same training."""
    training = published.training
    return training is None or any(line.training is not None and line.training.is_same(training) for line in own)


def _omission(left_out: Sequence[Line]) -> str:
    """Return a clause on the published lines without a run of the same training."""
    trainings = [line.training for line in left_out if line.training is not None]
    networks = {(t.dataset, t.network, name) for t in trainings for name in t.recipes}
    needed = join([f"{network} on {dataset} with --recipe {name}" for dataset, network, name in sorted(networks)], "or")
    return (
        f"{pluralize(len(left_out), 'published row')} left out, because no run of this table has the same recipe, "
        f"network and width of the penultimate layer: train {needed}"
    )


def _is_ranked(line: Line) -> bool:
    """Return whether a line is ranked, as on the leaderboard.

    A ranked line has a robust accuracy and no flags, is not at chance level, and its audit, if any, is complete.
    """
    return line.robust is not None and not line.flags and not line.at_chance and not line.audit_lacks


def _ranks(lines: Sequence[Line], *, by_alone: bool) -> dict[int, int]:
    """Rank the lines by robust accuracy, then by clean accuracy, to two decimals. Return ranks by ``id`` of the line.

    Ties share a rank. With ``by_alone``, own rows are ranked by the attack of the table alone. This is needed for own
    rows with different attacks, because a row must not be ranked lower for having more attacks.
    """
    scores = {id(line): _score(line, by_alone=by_alone) for line in lines if _is_ranked(line)}
    ordered = sorted(scores.values(), reverse=True)
    return {key: ordered.index(score) + 1 for key, score in scores.items()}


def _score(line: Line, *, by_alone: bool) -> tuple[float, float]:
    """Return the sort key of a line, rounded to two decimals. Published numbers are rounded to two decimals as well."""
    robust = line.alone if by_alone and line.alone is not None else line.robust
    return round(robust or 0.0, 2), round(line.clean or 0.0, 2)


def _summary(protocol: Protocol, reasons: Sequence[tuple[str, ...]], left_out: Sequence[Line]) -> str:
    sentences = [_counts(reasons)] if reasons or not left_out else []
    sentences += [RATIO] if protocol.measure == DEEPFOOL else []
    sentences += [_omission(left_out)] if left_out else []
    return " ".join(f"{sentence}." for sentence in sentences)


def _counts(reasons: Sequence[tuple[str, ...]]) -> str:
    refused = [why for why in reasons if why]
    counts = Counter(reason for why in refused for reason in why)
    text = f"{len(reasons) - len(refused)} of {pluralize(len(reasons), 'published row')} may be compared with ours"
    return f"{text} ({'; '.join(f'{reason}: {n}' for reason, n in counts.most_common())})" if counts else text
