"""Share the work of a results folder with other processes that use it at the same time: each cell is computed once.

A piece of work is named by the path of its record: a training, a cell, a diagnosis or an audit. A process claims it
(:mod:`bench.runtime.claims`) before it computes it, and leaves work that another process has claimed. Does not import
torch.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.core.specs import Encoding, EvalSpec
from bench.results.store import Store
from bench.runtime.claims import CLAIMS, owner_of
from bench.runtime.interrupt import check_stop
from bench.runtime.progress import Progress

Stamp = tuple[int, int, int] | None  # modification time, inode and size of a record; None if it does not exist
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0


class SharedWork:
    """Work of one command. ``force`` computes stored results again, but not what this command has computed.

    ``adversarials`` is the requested encoding of adversarial images. A cell of another process without them is open.
    """

    def __init__(self, store: Store, *, force: bool = False, adversarials: Encoding = "none") -> None:
        self._store, self._force, self._adversarials = store, force, adversarials
        self._kept: set[Path] = set()  # cells of other processes with the requested images
        self._planned: dict[Path, Stamp] = {}  # state of the records when the work was planned
        self._done: set[Path] = set()  # computed by this command
        self._settled: set[Path] = set()  # not needed
        self._wait_s = FIRST_WAIT_S

    def plan(self, *records: Path) -> None:
        """Note the state of records that are to be computed, to recognise the results of other processes."""
        for path in records:
            self._planned.setdefault(path, _stamp(path))

    def plan_cells(self, cells: Iterable[EvalSpec]) -> None:
        """Plan the records of ``cells``."""
        self.plan(*(self._store.cell_path(cell.run_id, cell.cell_id) for cell in cells))

    def is_done(self, record: Path) -> bool:
        """Return whether this command has computed the work, or another process since it was planned.

        Work whose record was deleted meanwhile, for example by 'bench rm', is not done.
        """
        stamp = _stamp(record)
        if record in self._settled or (record in self._done and stamp is not None):
            return True
        return not self._force and stamp is not None and self._planned.get(record, stamp) != stamp

    def is_mine(self, record: Path) -> bool:
        """Return whether this command has computed the work, or does not need it."""
        return record in self._done or record in self._settled

    def settle(self, record: Path) -> None:
        """Treat the work as done, because it is not needed."""
        self._settled.add(record)

    def is_open(self, cell: EvalSpec) -> bool:
        """Return whether the cell was planned and is not computed yet."""
        path = self._store.cell_path(cell.run_id, cell.cell_id)
        return path in self._planned and not self.is_cell_done(cell)

    def is_cell_done(self, cell: EvalSpec) -> bool:
        """Return whether the cell is done, see :meth:`is_done`, and has the requested adversarial images."""
        path = self._store.cell_path(cell.run_id, cell.cell_id)
        if not self.is_done(path):
            return False
        if self.is_mine(path) or path in self._kept or self._adversarials == "none":
            return True
        record = self._store.read_cell(cell.run_id, cell.cell_id)
        if record is not None and record.status == "ok" and not self._store.keeps(record, self._adversarials):
            return False
        self._kept.add(path)
        return True

    def waits(self, cell: EvalSpec) -> bool:
        """Return whether the cell must wait for another cell, whose outcomes select its images."""
        paths = (self._store.cell_path(cell.run_id, cell_id) for cell_id in cell.filters)
        return any(path in self._planned and not self.is_done(path) for path in paths)

    @contextmanager
    def claimed(self, record: Path, *, unless: Callable[[], bool] | None = None) -> Iterator[bool]:
        """Claim the work of ``record`` while the block runs. It is done if the block ends without an exception.

        Yield False if another process has claimed it, or has done it since it was planned. ``unless`` replaces
        the second condition for work that may have to be repeated: it returns True if the stored result is
        complete.
        """
        self.plan(record)
        with CLAIMS.claim(*_claim_of(record)) as mine:
            mine = mine and not (unless() if unless is not None else self.is_done(record))
            yield mine
            if mine:
                self._done.add(record)
                self._wait_s = FIRST_WAIT_S

    @contextmanager
    def alone(self, record: Path) -> Iterator[None]:
        """Claim the work of ``record`` while the block runs, and wait while another process has it."""
        with CLAIMS.wait_for(*_claim_of(record)):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """With ``force``, wait until no other process uses ``--force`` in this folder."""
        with CLAIMS.wait_for(self._store.root / "claims", "force") if self._force else nullcontext():
            yield

    def wait(self, records: Iterable[Path], progress: Progress) -> None:
        """Wait for a while, because other processes have claimed all ``records``. Raises Stopped on request."""
        paths = list(records)
        if self._wait_s == FIRST_WAIT_S:
            owners = sorted({owner for path in paths if (owner := owner_of(*_claim_of(path)))})
            progress.line(f"waiting for {len(paths)} results of {', '.join(owners) or 'other processes'}")
        deadline = time.monotonic() + self._wait_s * (0.5 + random.random())
        while time.monotonic() < deadline:
            check_stop()
            time.sleep(0.1)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)


def _claim_of(record: Path) -> tuple[Path, str]:
    """Return the folder and the name of the claim on a record, such as runs/<id>/claims and cells-<cell_id>."""
    folder = record.parent if record.parent.name not in ("cells", "audits") else record.parent.parent
    return folder / "claims", "-".join(record.relative_to(folder).with_suffix("").parts)


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
