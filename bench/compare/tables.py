"""Tables of lines: ours under one protocol, and below them what was published of the same kind.

A table is made for every protocol that our rows have, so that all our lines in it may be ranked against each other. A
published line takes part in the ranking where its protocol agrees; otherwise it stands there with the reasons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.compare.rows import AUTOATTACK, CORRUPTIONS, DEEPFOOL, Line, Protocol, mismatches
from bench.core.words import pluralize

BY_ALONE = "ranked by {:.2f}, under the table's attack alone: our rows went through different attacks or audits"
RATIO = "DeepFool's distance is no worst case; it gives no place"


@dataclass(frozen=True)
class RankedRow:
    """A line in a table; ``reasons`` are those for which it may not be compared with ours."""

    line: Line
    rank: int | None
    reasons: tuple[str, ...] = ()
    by_alone: bool = False  # whether its place goes by the accuracy under the table's attack alone

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the number and on its rank."""
        alone = self.line.alone if self.by_alone and self.rank is not None else None
        return (*self.line.remarks, *self.line.notes, *([] if alone is None else [BY_ALONE.format(alone)]))

    @property
    def note(self) -> str:
        """All that stands in the last column."""
        refused = [f"not comparable: {'; '.join(self.reasons)}"] if self.reasons else []
        return ". ".join([*refused, *self.notes])


@dataclass(frozen=True)
class Table:
    title: str
    summary: str  # how many published lines may be compared, in a sentence
    placed: tuple[RankedRow, ...]  # those with a place first


def compare(ours: Iterable[tuple[str, Line]], published: Sequence[Line]) -> list[Table]:
    """One table for every protocol among ``ours``, which are pairs of a test split's hash and a line on it."""
    groups: dict[tuple[str, Protocol], list[Line]] = {}
    for data_sha, line in ours:
        groups.setdefault((data_sha, line.protocol), []).append(line)
    titles = Counter(protocol.title for _, protocol in groups)
    return [
        _table(protocol, f", split {data_sha}" * (titles[protocol.title] > 1), lines, _beside(protocol, published))
        for (data_sha, protocol), lines in groups.items()
    ]


def _kind(protocol: Protocol) -> str:
    """Attacks under a bound of whatever name are one kind."""
    return protocol.measure if protocol.measure in (CORRUPTIONS, DEEPFOOL) else AUTOATTACK


def _beside(ours: Protocol, published: Sequence[Line]) -> list[Line]:
    """Return the published lines of the same kind as ``ours``.

    Where any of them have the same norm, only these; where any of these have the same data set, only those.
    """
    found = [line for line in published if _kind(line.protocol) == _kind(ours)]
    for field in ("norm", "dataset"):
        same = [line for line in found if getattr(line.protocol, field) == getattr(ours, field)]
        found = same or found
    return found


def _table(protocol: Protocol, split: str, ours: Sequence[Line], published: Sequence[Line]) -> Table:
    reasons = [tuple(mismatches(protocol, line.protocol)) for line in published]
    agreeing = [line for line, why in zip(published, reasons, strict=True) if not why]
    by_alone = len({line.tried for line in ours if _is_ranked(line)}) > 1
    ranks = {} if protocol.measure == DEEPFOOL else _ranks([*ours, *agreeing], by_alone=by_alone)
    every = [(line, ()) for line in ours] + list(zip(published, reasons, strict=True))
    placed = [RankedRow(line, ranks.get(id(line)), why, by_alone) for line, why in every]
    placed.sort(key=lambda p: (p.rank is None, p.rank or 0, p.line.published, bool(p.reasons)))
    return Table(protocol.title + split, _summary(protocol, reasons), tuple(placed))


def _is_ranked(line: Line) -> bool:
    """A line without a number has no place, nor one against which something speaks, nor a network at chance."""
    return line.robust is not None and not line.flags and not line.at_chance


def _ranks(lines: Sequence[Line], *, by_alone: bool) -> dict[int, int]:
    """Places by ``id`` of the line: by robust, then by clean, to two decimals; equal ones share a place.

    With ``by_alone`` our rows are ranked by the attack of the table alone: they went through different attacks, and
    more attacks must not cost a place.
    """
    scores = {id(line): _score(line, by_alone=by_alone) for line in lines if _is_ranked(line)}
    ordered = sorted(scores.values(), reverse=True)
    return {key: ordered.index(score) + 1 for key, score in scores.items()}


def _score(line: Line, *, by_alone: bool) -> tuple[float, float]:
    """Published numbers have two decimals; a tie with one must not depend on what comes after."""
    robust = line.alone if by_alone and line.alone is not None else line.robust
    return round(robust or 0.0, 2), round(line.clean or 0.0, 2)


def _summary(protocol: Protocol, reasons: Sequence[tuple[str, ...]]) -> str:
    refused = [why for why in reasons if why]
    counts = Counter(clause for why in refused for clause in why)
    taken = len(reasons) - len(refused)
    text = f"{taken} of {pluralize(len(reasons), 'published row')} may be compared with ours"
    if counts:
        text += " (" + "; ".join(f"{clause}: {n}" for clause, n in counts.most_common()) + ")"
    return f"{text}.{f' {RATIO}.' if protocol.measure == DEEPFOOL else ''}"
