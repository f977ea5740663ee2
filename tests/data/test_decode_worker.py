"""Processes that decode images: memory for large images, answers that fit into a pipe, and files that change."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bounds import bounded
from PIL import Image

from bench.core.errors import BenchError
from bench.core.limits import LARGE_IMAGE, PIXELS
from bench.core.specs import Fitting
from bench.data import decode_pool, decode_worker, image_bounds
from bench.data.content_hashes import stamps_of
from bench.data.decode_worker import Answer, Request, encoded
from bench.data.image_files import FileReader
from bench.data.streaming import StreamedImages

PIPE = subprocess.PIPE
OPTIONS: dict[str, Any] = {"fitting": {"size": 16}, "fit": True, "ids": [], "corruption": None}


def request(*paths: Path, stamped: bool = False) -> Request:
    stamps = [list(stamp) for stamp in stamps_of(paths)] if stamped else []
    return Request(start=0, paths=list(map(str, paths)), stamps=stamps, **OPTIONS)


def image(path: Path, value: int = 0, side: int = 16) -> Path:
    Image.new("L", (side, side), value).save(path)
    return path


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Memory that workers share."""
    found = decode_pool._shared_file(2**16)
    yield found
    os.close(found)


def test_large_images_are_decoded_within_one_limit_by_all_workers(tmp_path: Path, descriptor: int) -> None:
    """Eight workers would need 4.5 GB for images of the largest size."""
    small, large = image(tmp_path / "a.png"), image(tmp_path / "b.png", side=int(LARGE_IMAGE**0.5) + 1)
    fcntl.lockf(descriptor, fcntl.LOCK_EX, PIXELS)
    with decode_pool._start(descriptor, 2**16) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for path in (small, large):
            worker.stdin.write(json.dumps(request(path)).encode() + b"\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline())[1] == ""
        assert not select.select([worker.stdout], [], [], 0.5)[0]
        fcntl.lockf(descriptor, fcntl.LOCK_UN, PIXELS)
        assert json.loads(worker.stdout.readline())[1] == ""
        worker.stdin.close()


def test_images_share_the_limit(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_bounds, "PIXELS", 1000)
    program = f"import fcntl, sys; fcntl.lockf({descriptor}, fcntl.LOCK_EX, 300); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, pass_fds=[descriptor]) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert image_bounds._lock(descriptor, 350) == 350
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
        other.kill()
        other.wait()
    with bounded(seconds=5):
        assert image_bounds._lock(descriptor, 1000) == 0


@pytest.mark.parametrize("sign", ["a", "漢", "\U0001f600", "\x01", "\udcff"])
def test_answers_fit_into_a_pipe(sign: str) -> None:
    assert decode_pool.MOST_AHEAD * decode_worker.MOST_BYTES <= 2**16
    for length in (10, 150, 5000):
        line = encoded(Answer(7, sign * length, "corruption_error"))
        assert len(line) <= decode_worker.MOST_BYTES
        number, error, reason = json.loads(line)
        assert (number, reason) == (7, "corruption_error")
        assert error == sign * length if length < 151 else error.startswith(sign * 100)


def test_many_damaged_files_with_long_names_are_one_sentence(tmp_path: Path) -> None:
    """Workers waited for this process to read their answers, and this process for them to read its requests."""
    path = tmp_path.joinpath(*["漢" * 80] * 8, "a.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89PNG")
    reader = FileReader([path] * 500, Fitting(size=224), fit=True)
    images = StreamedImages(["a"] * 500, torch.zeros(500), reader, workers=1)
    with bounded(), pytest.raises(BenchError, match=r"a\.png \(\d+ characters\) is damaged"):
        list(images.pixels([torch.arange(500)]))


def test_a_worker_whose_parent_was_killed_prints_nothing(descriptor: int) -> None:
    code = decode_pool._CODE.format(path=sys.path, descriptor=descriptor, size=2**16)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=[descriptor]) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdout.close()
        worker.stdin.write(json.dumps(request()).encode() + b"\n")
        worker.stdin.close()
        printed = worker.stderr.read()
    assert (worker.returncode, printed) == (0, b"")


def test_relative_paths_after_a_change_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle workers have the working folder in which they were started."""
    for value, name in ((50, "a"), (200, "b")):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        reader = FileReader([image(Path("x.png"), value)], Fitting(size=16), fit=True)
        images = StreamedImages(["x"], torch.zeros(1), reader, workers=1)
        (_, pixels), *_ = images.pixels([torch.arange(1)])
        assert (pixels == value).all()


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image(tmp_path / "a.png")
    asked = request(path, stamped=True)
    memory = np.zeros(3 * 16 * 16, np.uint8)
    assert decode_worker.answer(asked, memory).error == ""
    read = decode_worker.read_image

    def overtaken(path: Path, *given: Any, **options: Any) -> Any:
        image(path, 255, side=20)
        return read(path, *given, **options)

    monkeypatch.setattr(decode_worker, "read_image", overtaken)
    assert "a.png changed after the run began" in decode_worker.answer(asked, memory).error


@pytest.mark.parametrize("call", ["os.memfd_create", "mmap.mmap", "subprocess.Popen"])
def test_processes_that_cannot_be_started_are_one_sentence(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(call, refused)
    with pytest.raises(BenchError, match="cannot be started: Too many open files; raise the limit, or give fewer"):
        decode_pool.DecodePool(2, 2**16)


def test_names_of_files_are_encoded_as_in_this_process(tmp_path: Path) -> None:
    """The UTF-8 mode of Python may be set by an option, which other processes do not inherit."""
    image(tmp_path / "é.png")
    program = (
        "import pathlib, sys, torch\n"
        "from bench.core.specs import Fitting\n"
        "from bench.data.image_files import FileReader\n"
        "from bench.data.streaming import StreamedImages\n"
        "reader = FileReader([pathlib.Path(sys.argv[1], '\\xe9.png')], Fitting(size=16), fit=True)\n"
        "StreamedImages(['a'], torch.zeros(1), reader, 1).check()\n"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-X", "utf8", "-c", program, str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, **locale})
