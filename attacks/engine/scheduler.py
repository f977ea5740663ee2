"""Schedule the attempts (restarts or target classes) of the samples of a search.

Attempts have an order: the first successful attempt gives the result of a sample, and later attempts are ignored. If
the attempts of a sample ran strictly one after the other, batches would be almost empty when few samples remain.
Therefore, an attempt may start while earlier attempts are still running. Such an attempt is called speculative. It does
not change the result of a sample, but may waste passes. Most successful attempts succeed early, so speculative attempts
of a sample start only after its first attempt has run for some batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

Pair = tuple[int, int]  # the position of a sample, and the number of its attempt from 0

PATIENCE = 10  # batches between the first attempt of a sample and its first speculative attempt


class Scheduler:
    """The attempts of one search, for samples at ``positions`` with ``attempts`` attempts each.

    Speculative attempts start only while fewer than ``ahead`` attempts are running, and only for samples whose first
    attempt started at least ``patience`` batches ago. Each call of :meth:`begin` is one batch.
    """

    def __init__(self, positions: Iterable[int], attempts: int, *, ahead: float, patience: int = PATIENCE) -> None:
        self._waiting = deque(positions)
        self._next = dict.fromkeys(self._waiting, 0)
        self._end = dict.fromkeys(self._waiting, attempts)
        self._under_way: dict[int, set[int]] = {}
        self._ahead, self._patience = ahead, patience
        self._batch = 0
        self._begun: dict[int, int] = {}  # the batch in which the first attempt of a sample began
        self.rows = 0  # number of running attempts

    def __bool__(self) -> bool:
        return bool(self.rows or self._waiting)

    def begin(self, batch_size: int) -> list[Pair]:
        """Return the attempts to start now, at most ``batch_size`` including the running ones."""
        self._batch += 1
        begun: list[Pair] = []
        while self._waiting and self.rows < batch_size:
            begun.append(self._begin(self._waiting.popleft()))
        if (rows := min(batch_size, self._ahead) - self.rows) > 0:
            begun += self._begin_ahead(int(rows))
        return begun

    def _begin_ahead(self, rows: int) -> list[Pair]:
        """Start up to ``rows`` speculative attempts, one per sample in turn."""
        begun: list[Pair] = []
        eligible = [p for p in self._under_way if self._batch - self._begun[p] >= self._patience]
        while len(begun) < rows:
            ready = [p for p in eligible if self._next[p] < self._end[p]][: rows - len(begun)]
            if not ready:
                break
            begun += [self._begin(position) for position in ready]
        return begun

    def _begin(self, position: int) -> Pair:
        attempt = self._next[position]
        self._next[position] += 1
        self._begun.setdefault(position, self._batch)
        self._under_way.setdefault(position, set()).add(attempt)
        self.rows += 1
        return position, attempt

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON values. The order of the samples is a part of the state."""
        return {
            "waiting": list(self._waiting),
            "next": list(self._next.items()),
            "end": list(self._end.items()),
            "under_way": [(position, sorted(attempts)) for position, attempts in self._under_way.items()],
            "batch": self._batch,
            "begun": list(self._begun.items()),
        }

    def load(self, facts: Mapping[str, Any]) -> None:
        """Set the state to the result of :meth:`dump`."""
        self._waiting = deque(facts["waiting"])
        self._next, self._end, self._begun = (dict(facts[key]) for key in ("next", "end", "begun"))
        self._under_way = {position: set(attempts) for position, attempts in facts["under_way"]}
        self._batch, self.rows = facts["batch"], sum(len(attempts) for attempts in self._under_way.values())

    def close(self, position: int, end: int) -> None:
        """Limit the attempts of a sample to those below ``end``."""
        self._end[position] = min(self._end[position], end)

    def ended(self, pairs: Iterable[Pair]) -> list[int]:
        """Remove attempts that are over. Return the positions of samples that still have attempts to start."""
        free = []
        for position, attempt in pairs:
            running = self._under_way[position]
            running.remove(attempt)
            self.rows -= 1
            if not running:
                del self._under_way[position]
                if self._next[position] < self._end[position]:
                    free.append(position)
        self._waiting.extend(free)
        return free

    def restart(self) -> list[int]:
        """Move all running attempts back to the head of the queue. Return the positions of their samples."""
        positions = list(self._under_way)
        for position in positions:
            self._next[position] = min(self._under_way[position])
        self._waiting.extendleft(reversed(positions))
        self._under_way.clear()
        self.rows = 0
        return positions
