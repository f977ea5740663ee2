"""Schedule attempts: those under way for each sample, and those that begin next.

A sample's attempts (restarts, target classes) count in their order: the lowest that succeeds is what the sample is
broken by, and none above it matters. One after the other they leave most of a batch empty once few samples are left;
so where there is room, an attempt begins while lower ones are still under way. What becomes of a sample is the same
either way; only passes that turn out to be in vain are more. An attempt that succeeds mostly does so soon: a sample
gets others beside its first only when that has stood for some turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

Pair = tuple[int, int]  # the position of a sample, and the number of its attempt from 0

PATIENCE = 10  # turns


class Agenda:
    """The attempts of one hunt. ``positions`` are the samples', ``attempts`` the number that each of them has.

    At most ``ahead`` attempts are under way where some of them run beside a lower one of the same sample, whose first
    attempt began at least ``patience`` turns before. Each call of :meth:`begin` is a turn.
    """

    def __init__(self, positions: Iterable[int], attempts: int, *, ahead: float, patience: int = PATIENCE) -> None:
        self._waiting = deque(positions)
        self._next = dict.fromkeys(self._waiting, 0)
        self._end = dict.fromkeys(self._waiting, attempts)
        self._under_way: dict[int, set[int]] = {}
        self._ahead, self._patience = ahead, patience
        self._turn = 0
        self._begun: dict[int, int] = {}  # the turn in which a sample's first attempt began
        self.rows = 0  # attempts under way

    def __bool__(self) -> bool:
        return bool(self.rows or self._waiting)

    def begin(self, batch_size: int) -> list[Pair]:
        """Return the attempts to begin now; together with those under way they are at most ``batch_size``."""
        self._turn += 1
        begun: list[Pair] = []
        while self._waiting and self.rows < batch_size:
            begun.append(self._begin(self._waiting.popleft()))
        if (room := min(batch_size, self._ahead) - self.rows) > 0:
            begun += self._begin_ahead(int(room))
        return begun

    def _begin_ahead(self, room: int) -> list[Pair]:
        """A next attempt for every sample that has stood, and another, and so on while there is room."""
        begun: list[Pair] = []
        stood = [p for p in self._under_way if self._turn - self._begun[p] >= self._patience]
        while len(begun) < room:
            able = [p for p in stood if self._next[p] < self._end[p]][: room - len(begun)]
            if not able:
                break
            begun += [self._begin(position) for position in able]
        return begun

    def _begin(self, position: int) -> Pair:
        attempt = self._next[position]
        self._next[position] += 1
        self._begun.setdefault(position, self._turn)
        self._under_way.setdefault(position, set()).add(attempt)
        self.rows += 1
        return position, attempt

    def close(self, position: int, end: int) -> None:
        """Only the attempts below ``end`` of the sample matter from now on."""
        self._end[position] = min(self._end[position], end)

    def ended(self, pairs: Iterable[Pair]) -> list[int]:
        """These attempts are over: the positions of which another is to begin later."""
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
        """Everything under way begins again, before what waits: the positions."""
        positions = list(self._under_way)
        for position in positions:
            self._next[position] = min(self._under_way[position])
        self._waiting.extendleft(reversed(positions))
        self._under_way.clear()
        self.rows = 0
        return positions
