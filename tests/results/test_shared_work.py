"""Two commands on one results folder divide the work: each record is computed once, and waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.results.shared_work import SharedWork
from bench.results.store import Store
from bench.runtime import interrupt
from bench.runtime.interrupt import Stopped, StopRequest
from bench.runtime.progress import Progress


class Lines(Progress):
    """Progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "runs/a/cells/b.json"
    path.parent.mkdir(parents=True)
    return path


def two(root: Path, *, force: bool = False) -> tuple[SharedWork, SharedWork]:
    return SharedWork(Store(root), force=force), SharedWork(Store(root), force=force)


def compute(work: SharedWork, record: Path) -> bool:
    """Claim and write a record. Return whether the work was this command's."""
    with work.claimed(record) as mine:
        if mine:
            record.write_text("done", encoding="utf-8")
    return mine


def test_work_that_another_command_has_done_is_not_repeated(tmp_path: Path, record: Path) -> None:
    first, second = two(tmp_path)
    second.plan(record)
    assert compute(first, record)
    assert second.is_done(record)
    assert not compute(second, record)
    assert (first.is_mine(record), second.is_mine(record)) == (True, False)


def test_work_whose_record_was_deleted_is_not_done(tmp_path: Path, record: Path) -> None:
    """Such as a failed cell that is to be computed again, whose run is removed meanwhile."""
    work, _ = two(tmp_path)
    record.write_text("failed", encoding="utf-8")
    work.plan(record)
    record.unlink()
    assert not work.is_done(record)
    assert compute(work, record)


@pytest.mark.parametrize("force", [False, True])
def test_own_work_whose_record_was_deleted_is_done_again(tmp_path: Path, record: Path, force: bool) -> None:
    """Otherwise the command would wait for ever for another process that does it."""
    work, _ = two(tmp_path, force=force)
    assert compute(work, record)
    record.unlink()
    assert compute(work, record)
    record.unlink()
    work.settle(record)
    assert work.is_done(record)


def test_work_alone_waits_for_its_owner(tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two(tmp_path)
    monkeypatch.setattr(interrupt._REQUEST, "stop", StopRequest("SIGTERM", 143))
    with first.alone(record):
        assert not compute(second, record)
        with pytest.raises(Stopped), second.alone(record):
            pass
    with second.alone(record):
        pass


def test_work_in_progress_is_left_to_its_owner(tmp_path: Path, record: Path) -> None:
    first, second = two(tmp_path)
    with first.claimed(record) as mine:
        assert mine
        assert not compute(second, record)
        assert not second.is_done(record)
    assert (tmp_path / "runs/a/claims").exists() is False


def test_work_that_failed_with_an_error_can_be_taken_over(tmp_path: Path, record: Path) -> None:
    first, second = two(tmp_path)
    with pytest.raises(OSError, match="full"), first.claimed(record):
        raise OSError("full")
    assert not first.is_done(record)
    assert compute(second, record)


def test_force_repeats_the_work_of_others_but_not_its_own(tmp_path: Path, record: Path) -> None:
    first, second = two(tmp_path, force=True)
    second.plan(record)
    assert compute(first, record)
    assert not compute(first, record)
    assert compute(second, record)


def test_a_result_that_must_be_repeated_is_repeated(tmp_path: Path, record: Path) -> None:
    """An audit of another process may lack attacks that this command has added."""
    first, second = two(tmp_path)
    second.plan(record)
    assert compute(first, record)
    with second.claimed(record, unless=lambda: False) as mine:
        assert mine


def test_waiting_names_the_owner_and_can_be_stopped(
    tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two(tmp_path)
    progress = Lines()
    monkeypatch.setattr(interrupt._REQUEST, "stop", StopRequest("SIGTERM", 143))
    with first.claimed(record), pytest.raises(Stopped):
        second.wait([record], progress)
    assert "waiting for 1 results of process" in progress.lines[0]
