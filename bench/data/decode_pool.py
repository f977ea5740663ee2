"""Decode image files in worker processes, ahead of the use of the pixels and in a fixed order.

A worker is a separate Python process, see :mod:`bench.data.decode_worker`. It starts in a quarter of a second, takes 40
MB, does not import torch and shares no lock with this process. SIGINT and SIGTERM are blocked in workers, so that only
this process handles them. A worker ends when its input is closed, also if this process is killed. Pixels are passed
through shared memory, which holds at most AHEAD_BYTES of them, or two requests per worker.
"""

from __future__ import annotations

import atexit
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, CellFailure
from bench.core.limits import LARGE_IMAGE
from bench.data.decode_worker import Answer, Request

#: Bytes of decoded images that wait for their use.
AHEAD_BYTES = 2**26

#: Approximate bytes of the images of one request.
REQUEST_BYTES = 2**21

MOST_AHEAD = 32  # requests per worker; their answers fit into a pipe, see MOST_BYTES of the workers

#: Largest number of workers by default.
MOST_WORKERS = 8

_BLOCKED = {signal.SIGINT, signal.SIGTERM}
_CODE = "import sys; sys.path[:] = {path!r}; from bench.data.decode_worker import main; main({descriptor}, {size})"


def default_workers() -> int:
    """Return the number of workers without ``--workers``: one per core that this process may use, at most 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MOST_WORKERS)


class Layout(NamedTuple):
    """Division of the shared memory into equal slots, one per request in progress."""

    images: int  # images per request
    slot_bytes: int
    slots: int  # a multiple of the number of workers, so that a slot belongs to one worker

    @classmethod
    def of(cls, image_bytes: int, workers: int) -> Layout:
        """Return the layout for images of ``image_bytes`` bytes."""
        images = max(1, REQUEST_BYTES // image_bytes)
        ahead = AHEAD_BYTES // (images * image_bytes * workers)
        return cls(images, images * image_bytes, workers * min(max(2, ahead), MOST_AHEAD))


class DecodePool:
    """Worker processes, and the memory that they share with this process. One iteration at a time may use them.

    Raises BenchError if they cannot be started, for example because too many files are open.
    """

    def __init__(self, workers: int, size: int) -> None:
        self.owner, self.size = os.getpid(), size
        self._sent = 0  # number of the last request
        self._unanswered: deque[tuple[int, int]] = deque()  # index of the worker and number of the request, in order
        self._workers: list[subprocess.Popen[bytes]] = []
        try:
            descriptor = _shared_file(size)
            try:
                self._memory = mmap.mmap(descriptor, size)
                for _ in range(workers):
                    self._workers.append(_start(descriptor, size))
            finally:
                os.close(descriptor)
        except OSError as error:
            self.close()
            raise BenchError(
                f"the processes that decode images cannot be started: {error.strerror or error}; raise the limit, or "
                "give fewer --workers."
            ) from None
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """True if the pool belongs to this process, not to its parent, and no worker has ended."""
        return self.owner == os.getpid() and bool(self._workers) and all(w.poll() is None for w in self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def read(self, requests: Iterable[Request], layout: Layout) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of each request, (bytes,), in order. They are valid until the next step.

        ``Request.start`` is set here. ``requests`` is read ahead by ``layout.slots`` entries. Raises BenchError or
        CellFailure as the reading of the images does, and BenchError if a worker ends.
        """
        self._discard()
        waiting: deque[tuple[int, int]] = deque()  # first byte and number of bytes
        for number, request in enumerate(requests):
            if number >= layout.slots:
                yield self._received(*waiting.popleft())
            start = number % layout.slots * layout.slot_bytes
            self._send(number % len(self), request._replace(start=start))
            waiting.append((start, len(request.paths) * 3 * request.fitting["size"] ** 2))
        while waiting:
            yield self._received(*waiting.popleft())

    def close(self) -> None:
        """End the workers. Pixels in use stay valid."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.kill()
        for worker in workers:
            with suppress(OSError):  # a broken pipe: the worker has ended
                worker.communicate()

    def _send(self, worker: int, request: Request) -> None:
        pipe = self._workers[worker].stdin
        assert pipe is not None
        with self._whole():
            self._sent += 1
            self._unanswered.append((worker, self._sent))
            pipe.write(json.dumps(request._replace(number=self._sent)).encode() + b"\n")
            pipe.flush()

    def _received(self, start: int, count: int) -> NDArray[np.uint8]:
        """Return the pixels of the oldest request. Raises its error."""
        answer = self._answer()
        if answer.reason:
            raise CellFailure(answer.reason, answer.error)
        if answer.error:
            raise BenchError(answer.error)
        return np.frombuffer(self._memory, np.uint8, count, start)

    def _answer(self) -> Answer:
        """Return the oldest answer. An interrupt must not leave one behind: its pixels would be taken for others."""
        with self._whole():
            worker, number = self._unanswered.popleft()
            pipe = self._workers[worker].stdout
            assert pipe is not None
            line = pipe.readline()
            answer = Answer(*json.loads(line)) if line.endswith(b"\n") else None
            if answer is None or answer.number != number:
                raise BrokenPipeError
        return answer

    def _discard(self) -> None:
        """Wait for the answers that an interrupted iteration has left."""
        while self._unanswered:
            self._answer()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Close the pool if a line is not sent or received as a whole. Raises BenchError if a worker has ended."""
        try:
            yield
        except BrokenPipeError:
            self.close()
            raise BenchError(
                "a process that decodes images ended unexpectedly; if memory ran out, give fewer --workers."
            ) from None
        except BaseException:  # an interrupt
            self.close()
            raise


def _start(descriptor: int, size: int) -> subprocess.Popen[bytes]:
    code = _CODE.format(path=sys.path, descriptor=descriptor, size=size)
    pipe = subprocess.PIPE
    command = [sys.executable, "-X", f"utf8={sys.flags.utf8_mode}", "-c", code]  # names of files as in this process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)  # the worker inherits the blocked signals
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[descriptor], env=_environment())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> Mapping[str, str]:
    """Return the environment of a worker.

    Libraries use one thread, because there are several workers. Pillow keeps the memory of some images for the next
    ones: otherwise the system clears it again for every image, which takes a third of the time.
    """
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PILLOW_BLOCKS_MAX": "4"}


def _shared_file(size: int) -> int:
    """Return the descriptor of a file without a name, in memory where the system allows it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("images")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


_LOCK = threading.Lock()
_IDLE: list[DecodePool] = []
_ALL: list[DecodePool] = []


@contextmanager
def borrowed(workers: int, image_bytes: int) -> Iterator[tuple[DecodePool, Layout]]:
    """Lend an idle pool, or a new one, while the block runs. Nested and concurrent uses get pools of their own.

    Images of more than LARGE_IMAGE pixels are decoded by one worker, because each takes much memory.
    """
    count = 1 if image_bytes > 3 * LARGE_IMAGE else workers
    layout = Layout.of(image_bytes, count)
    size = max(AHEAD_BYTES, layout.slots * layout.slot_bytes)
    with _LOCK:
        _drop_closed()
        fitting = [pool for pool in _IDLE if len(pool) == count and pool.size >= size]
        pool = fitting[0] if fitting else DecodePool(count, size)
        if fitting:
            _IDLE.remove(pool)
        else:
            _ALL.append(pool)
    try:
        yield pool, layout
    finally:
        with _LOCK:
            _IDLE.append(pool)
            _drop_closed()


def _drop_closed() -> None:
    """Forget the idle pools that are closed, that have lost a worker, or that belong to the parent of this process."""
    for pool in [pool for pool in _IDLE if not pool.is_open]:
        _IDLE.remove(pool)
        if pool in _ALL:
            _ALL.remove(pool)
        if pool.owner == os.getpid():
            pool.close()


@atexit.register
def close_all() -> None:
    """End all workers of this process. It starts new ones if images are read afterwards."""
    for pool in _ALL:
        if pool.owner == os.getpid():
            pool.close()
    _ALL.clear()
    _IDLE.clear()
