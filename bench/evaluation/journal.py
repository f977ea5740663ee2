"""Journal of a running cell: results of finished searches and the state of the current one, beside the cell.

A process that is killed loses the work since the last entry, about a second. The next process divides the images into
the same batches, so that outcomes and passes are the same as without interruption. Two files exist while the cell is
computed:

<cell_id>.journal  finished searches and batches, appended one by one
<cell_id>.search   state of the current search, replaced as a whole

Each entry has a SHA-256. An entry that is incomplete, damaged, or of another cell is not used: its work is done again.
Short cells write no file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bench.attacks.engine.checkpoint import Saved
from bench.attacks.engine.query_budget import AttackResult
from bench.core.errors import BenchError
from bench.core.limits import JOURNAL, SAFETENSORS_HEADER
from bench.core.paths import unreadable
from bench.evaluation.cell_stats import CellStats
from bench.evaluation.pass_counter import CountingModel
from bench.runtime.captured_warnings import Captured
from bench.runtime.files import FACTS, read_facts, write_atomic
from bench.runtime.input_files import is_file, open_input
from bench.runtime.interrupt import check_stop, stop_requested

SAVE_EVERY_S = 1.0
COST = 20  # least time between two entries, in multiples of the time to write the last one: at most 5 % of the total
HASH = 32  # bytes of a SHA-256
LENGTH = 8  # bytes of the length of an entry
#: Fields of every entry, beside the key.
FIELDS = {"number", "finished", "facts", "passes", "batch_size", "start_size", "messages", "elapsed_s"}
#: Models of the attack (2 with a search model), and number of earlier searches with as many models. A search that
#: raises an error is repeated without the search model, and the journal has no entry of the first search.
Number = tuple[int, int]
MOST_MESSAGES = 1000  # maximum number of warnings in an entry


@dataclass
class CellJournal:
    """Journal of one cell, and :class:`~bench.attacks.engine.checkpoint.Checkpoint` of its searches.

    ``path`` is the path of the cell without suffix, or None to write no files. ``key`` identifies the work: entries
    with another key are not used.
    """

    path: Path | None = None
    key: str = ""
    stats: CellStats = field(default_factory=CellStats)
    counters: Sequence[CountingModel] = ()  # models of the current call of the attack
    messages: Captured = field(default_factory=Captured)  # warnings of the current call of the attack
    on_resumed: Callable[[int], None] = lambda passes: None  # gets the forward passes of earlier processes
    earlier_s: float = 0.0  # seconds of the cell in earlier processes
    start_size: int = 0  # batch size at the start of the cell (it may be reduced later); 0 if not known
    _replayed: dict[Number, bytes] = field(default_factory=dict)  # finished searches of earlier processes
    _current: bytes | None = None  # state of the search that was interrupted
    _unwritten: list[bytes] = field(default_factory=list)
    _end: int = 0  # length of the valid content of the journal
    _begun: Counter[int] = field(default_factory=Counter)  # searches begun so far, by number of models
    _number: Number = (0, 0)  # number of the current search
    _before: list[tuple[int, int]] = field(default_factory=list)  # passes before the current search
    _size_before: int = 0  # batch size before the current search
    _start: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def __post_init__(self) -> None:
        """Read the entries of an interrupted process."""
        if self.path is None:
            return
        finished = self._valid_entries()
        self._replayed = {_number_of(entry): entry for entry in finished}
        self._end = sum(LENGTH + HASH + len(entry) for entry in finished)
        with _opened(self._search_path) as file:
            self._current = self._next_entry(file, _remaining(file) - HASH)
        stored = [read_facts(entry) for entry in (*finished[-1:], self._current) if entry is not None]
        self.earlier_s = max((float(facts["elapsed_s"]) for facts in stored), default=0.0)
        self.start_size = stored[0]["start_size"] if stored else 0

    @property
    def resumed(self) -> bool:
        """True if an earlier process has left entries."""
        return bool(self._replayed) or self._current is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the cell, including earlier processes."""
        return self.earlier_s + time.monotonic() - self._start

    def begin(self) -> Saved | None:
        """Begin the next search. Return its stored result or state, and restore the counts that belong to it."""
        models = len(self.counters)
        self._number = models, self._begun[models]
        self._begun[models] += 1
        self._before = [(counter.forwards, counter.backwards) for counter in self.counters]
        self._size_before = self.stats.batch_size
        entry: bytes | None = None
        if self._number in self._replayed:
            entry = self._replayed.pop(self._number)
        elif self._current is not None and _number_of(self._current) == self._number:
            entry, self._current = self._current, None
        return None if entry is None else self._restored(entry)

    def reject(self) -> None:
        """Discard the state that :meth:`begin` has returned: it does not fit the search, which starts again."""
        self._set_passes(self._before)
        self.stats.batch_size = self._size_before

    def is_due(self) -> bool:
        """Return whether the state should be saved: after a while, and as soon as a stop is requested."""
        if stop_requested() is not None or self.path is None:
            return stop_requested() is not None
        return time.monotonic() - self._last >= max(SAVE_EVERY_S, COST * self._cost)

    def save(self, saved: Saved) -> None:
        """Save the state of the current search. Raises Stopped if a stop was requested."""
        if self.path is not None:
            self._write(self._entry(saved))
        check_stop()

    def finish(self, saved: Saved) -> None:
        """Add the result of the current search. It is written when the journal is due.

        Raises Stopped if a stop was requested.
        """
        if self.path is not None:
            self._unwritten.append(self._entry(saved))
            if self.is_due():
                self._write(None)
        check_stop()

    def restart(self) -> None:
        """Begin the cell again, without the entries so far."""
        self._replayed, self._unwritten, self._current, self._end = {}, [], None, 0
        self._begun.clear()
        self.drop()

    def drop(self) -> None:
        """Delete the files of the journal."""
        if self.path is not None:
            self._journal_path.unlink(missing_ok=True)
            self._search_path.unlink(missing_ok=True)

    @property
    def _journal_path(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.journal")

    @property
    def _search_path(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.search")

    def _valid_entries(self) -> list[bytes]:
        """Return the entries of the journal before the first one that is incomplete, damaged or of another cell."""
        entries = []
        with _opened(self._journal_path) as file:
            while (entry := self._next_entry(file, int.from_bytes(file.read(LENGTH), "little"))) is not None:
                entries.append(entry)
        return entries

    def _next_entry(self, file: io.BufferedIOBase, length: int) -> bytes | None:
        """Read a hash and an entry of ``length`` bytes; return None unless it is complete, intact and of this cell.

        The header of the entry is read first, so that a file of another kind takes no memory.
        """
        digest, start = file.read(HASH), file.tell()
        if not 0 < length <= _remaining(file):
            return None
        head = file.read(min(length, LENGTH))
        head += file.read(min(length, SAFETENSORS_HEADER, int.from_bytes(head, "little")))
        if not self._is_mine(head):
            return None
        file.seek(start)
        entry = file.read(length)
        return entry if hashlib.sha256(entry).digest() == digest else None

    def _is_mine(self, head: bytes) -> bool:
        try:
            facts = read_facts(head)
        except (ValueError, LookupError, TypeError, AttributeError):
            return False
        return facts.get("key") == self.key and _are_valid(facts)

    def _write(self, current: bytes | None) -> None:
        """Append the finished searches to the journal, and replace the state of the current search if it is given."""
        start = time.monotonic()
        if self._unwritten:
            self._append(b"".join(len(e).to_bytes(LENGTH, "little") + _sealed(e) for e in self._unwritten))
            self._unwritten = []
        if current is not None:
            write_atomic(self._search_path, _sealed(current))
        self._last = time.monotonic()
        self._cost = self._last - start

    def _append(self, content: bytes) -> None:
        """Append to the journal. A damaged end of the file is cut off first."""
        path = self._journal_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            earlier = _taken_from_others(path, self._end)
            with path.open("ab") as file:
                file.truncate(self._end - len(earlier))
                file.write(earlier + content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BenchError(
                f"cannot write {path}: {error.strerror or error}; earlier results are unchanged."
            ) from error
        self._end += len(content)

    def _entry(self, saved: Saved) -> bytes:
        facts = {
            "key": self.key,
            "number": self._number,
            "finished": saved.finished,
            "facts": saved.facts,
            "passes": [(counter.forwards, counter.backwards) for counter in self.counters],
            "batch_size": self.stats.batch_size,
            "start_size": self.start_size,
            "messages": self.messages.so_far()[:MOST_MESSAGES],
            "elapsed_s": self.elapsed_s,
        }
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in saved.tensors.items()}
        return save(tensors, {FACTS: json.dumps(facts)})

    def _restored(self, entry: bytes) -> Saved | None:
        try:
            tensors, facts = load(entry), read_facts(entry)
            saved = Saved(tensors, facts["facts"], finished=facts["finished"])
        except (SafetensorError, LookupError, TypeError, ValueError):
            return None
        self._set_passes(facts["passes"])
        self.stats.batch_size = facts["batch_size"] or self.stats.batch_size
        self.messages.earlier = facts["messages"]
        return saved

    def _set_passes(self, passes: Sequence[tuple[int, int]]) -> None:
        self.on_resumed(sum(forwards for forwards, _ in passes) - sum(counter.forwards for counter in self.counters))
        for counter, (forwards, backwards) in zip(self.counters, passes, strict=True):
            counter.forwards, counter.backwards = forwards, backwards


def _are_valid(facts: dict[str, Any]) -> bool:
    """Return whether the facts of an entry have all fields, with values of the right types."""
    if not facts.keys() >= FIELDS:
        return False
    number, passes, messages, elapsed = (facts[name] for name in ("number", "passes", "messages", "elapsed_s"))
    return (
        _are_counts(number, 2)
        and isinstance(passes, list)
        and len(passes) == number[0]
        and all(_are_counts(pair, 2) for pair in passes)
        and _are_counts([facts["batch_size"], facts["start_size"]], 2)
        and min(1, facts["start_size"]) <= facts["batch_size"] <= facts["start_size"]  # batches only become smaller
        and isinstance(facts["finished"], bool)
        and isinstance(facts["facts"], dict)
        and isinstance(messages, list)
        and all(isinstance(message, str) for message in messages)
        and isinstance(elapsed, int | float)
        and elapsed >= 0
    )


def _are_counts(values: Any, length: int) -> bool:
    """Return whether ``values`` is a list of ``length`` whole numbers from 0."""
    return isinstance(values, list) and len(values) == length and all(type(v) is int and v >= 0 for v in values)


def _number_of(entry: bytes) -> Number:
    models, count = read_facts(entry)["number"]
    return models, count


def _sealed(entry: bytes) -> bytes:
    return hashlib.sha256(entry).digest() + entry


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file of the journal; an empty one if it does not exist. Raises BenchError if it cannot be read."""
    try:
        with open_input(path, JOURNAL) if is_file(path) and not path.is_symlink() else io.BytesIO() as file:
            yield file
    except (OSError, MemoryError) as error:
        raise unreadable(path, JOURNAL.name, error) from None


def _taken_from_others(path: Path, length: int) -> bytes:
    """Delete a link to a file that may be the user's, or a pipe. Return its first ``length`` bytes if they are ours."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return b""
    is_regular = stat.S_ISREG(status.st_mode)
    if is_regular and status.st_nlink == 1:
        return b""
    with path.open("rb") if is_regular else io.BytesIO() as file:  # a hard link, for example from a copy by "cp -l"
        earlier = file.read(length)
    path.unlink()
    return earlier


def _remaining(file: io.BufferedIOBase) -> int:
    """Return the number of bytes after the position of an open file."""
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end - position


def as_saved(result: AttackResult, messages: Sequence[str]) -> Saved:
    """Return the result and the warnings of one batch of an attack that does not run the searches of this project."""
    tensors = {"adversarials": result.adversarials}
    if result.truncated is not None:
        tensors["truncated"] = result.truncated
    return Saved(tensors, {"messages": list(messages)}, finished=True)


def as_result(saved: Saved, inputs: Tensor) -> tuple[AttackResult, list[str]]:
    """Return what :func:`as_saved` has saved, on the device of ``inputs``."""
    tensors = {name: tensor.to(inputs.device) for name, tensor in saved.tensors.items()}
    return AttackResult(tensors["adversarials"], tensors.get("truncated")), list(saved.facts["messages"])
