"""At most one owner has a claim; claims of dead owners are recovered."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from bench.core.errors import BenchError
from bench.runtime import claims
from bench.runtime.claims import Claims, owner_of
from bench.runtime.processes import machine, start_time


def claim_of(folder: Path, generation: int = 0, **changes: object) -> Path:
    """Write a claim as another owner would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"work.{generation}.claim"
    owner = {"host": "elsewhere", "boot": "", "namespace": "", "pid": 1, "started": ""}
    path.write_text(json.dumps(owner | changes), encoding="utf-8")
    return path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def is_free(folder: Path) -> bool:
    with Claims().claim(folder, "work") as mine:
        return mine


def test_a_claim_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    with Claims().claim(tmp_path / "claims", "work") as mine:
        assert mine
        assert not is_free(tmp_path / "claims")
        assert f"process {os.getpid()}" in owner_of(tmp_path / "claims", "work")
        with Claims().claim(tmp_path / "claims", "other work") as other:
            assert other
    assert is_free(tmp_path / "claims")
    assert not list(tmp_path.iterdir())


def test_a_claim_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lost"), Claims().claim(tmp_path, "work"):
        raise ValueError("lost")
    assert is_free(tmp_path)


def test_a_claim_of_a_dead_process_is_recovered(tmp_path: Path) -> None:
    old = claim_of(tmp_path / "claims", 3, **machine(), pid=dead_process())
    with Claims().claim(tmp_path / "claims", "work") as mine:
        assert mine
        assert not old.exists()
        assert (tmp_path / "claims" / "work.4.claim").exists()


def test_a_claim_of_an_earlier_process_with_the_same_id_is_recovered(tmp_path: Path) -> None:
    claim_of(tmp_path / "claims", **machine(), pid=os.getpid(), started="1")
    assert is_free(tmp_path / "claims")


def test_a_live_process_is_never_superseded(tmp_path: Path) -> None:
    path = claim_of(tmp_path / "claims", **machine(), pid=os.getpid(), started=start_time(os.getpid()))
    os.utime(path, (0, 0))
    assert not is_free(tmp_path / "claims")


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move], ids=["copied", "renamed"])
def test_a_copy_of_a_folder_does_not_wait_for_the_process_that_works_on_the_original(
    tmp_path: Path, move: Callable[[Path, Path], object]
) -> None:
    with Claims().claim(tmp_path / "results" / "claims", "work"):
        move(tmp_path / "results", tmp_path / "other")
        (path,) = (tmp_path / "other" / "claims").glob("*.claim")
        assert not claims.is_running(path)
        assert not is_free(path.parent)  # another process may have it, until it is old
        os.utime(path, (0, 0))
        assert is_free(path.parent)


def test_a_folder_has_one_name_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "link").symlink_to("results")
    with Claims().claim(tmp_path / "link" / "claims", "work"):
        (path,) = (tmp_path / "results" / "claims").glob("*.claim")
        assert claims.is_running(path)
    assert not path.exists()


@pytest.mark.parametrize(("age", "free"), [(0.5, False), (1.5, True)])
def test_another_machine_has_the_claim_while_it_renews_it(tmp_path: Path, age: float, free: bool) -> None:
    path = claim_of(tmp_path / "claims")
    created = path.stat().st_mtime - age * claims.STALE_S
    os.utime(path, (created, created))
    assert is_free(tmp_path / "claims") == free


def test_the_time_stamp_of_a_claim_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    with Claims().claim(tmp_path, "work"):
        (path,) = tmp_path.glob("*.claim")
        os.utime(path, (0, 0))
        renewed = threading.Event()
        for _ in range(1000):
            if path.stat().st_mtime > 0:
                renewed.set()
                break
            renewed.wait(0.01)
        assert renewed.is_set()


def test_an_unreadable_claim_counts_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "work.0.claim"
    path.write_bytes(b"")
    assert not is_free(tmp_path)
    os.utime(path, (0, 0))
    assert is_free(tmp_path)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_many_threads_one_has_the_claim_at_a_time(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim of a dead process is there, so that all begin with the recovery, which has most steps."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links")))
    folder = tmp_path / "claims"
    claim_of(folder, **machine(), pid=dead_process())
    inside, most, turns = [0], [0], [0]

    def work() -> None:
        mine = 0
        while mine < 5:
            with Claims().claim(folder, "work") as has:
                if has:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                    mine += 1
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], turns[0]) == (1, 40)


def test_a_claim_whose_answer_was_lost_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS repeats a request whose answer is lost, and the repeated request finds the file."""
    link = os.link

    def repeated(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", repeated)
        with Claims().claim(tmp_path, "work") as mine:
            assert mine
    assert is_free(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    with pytest.raises(BenchError, match="cannot write"), Claims().claim(file / "claims", "work"):
        pass


def test_odd_claims_are_no_sign_of_life_and_no_obstacle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "work.0.claim")  # would block whoever opens it
    (tmp_path / "work.1.claim").write_text("[" * 100_000)
    (tmp_path / "work.2.claim").symlink_to("/dev/zero")
    assert not is_free(tmp_path)  # they are young, and may be claims that are being created
    for path in tmp_path.iterdir():
        if path.is_symlink():
            path.unlink()
        else:
            os.utime(path, (0, 0))
    assert is_free(tmp_path)


def test_a_time_stamp_in_the_future_does_not_block_the_work(tmp_path: Path) -> None:
    path = claim_of(tmp_path)
    os.utime(path, (4e9, 4e9))
    assert is_free(tmp_path)


def test_after_the_last_generation_follows_the_lowest_free_one(tmp_path: Path) -> None:
    """A generation of ten digits would be invisible: the work would be done twice, and never be free again."""
    pid = dead_process()
    for generation in (0, claims.LAST):
        claim_of(tmp_path, generation, **machine(), pid=pid)
    with Claims().claim(tmp_path, "work") as mine:
        assert mine
        assert [path.name for path in tmp_path.glob("*.claim")] == ["work.1.claim"]
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_two_spellings_of_a_generation_hide_no_owner(tmp_path: Path) -> None:
    live = claim_of(tmp_path, 1, **machine(), pid=os.getpid(), started=start_time(os.getpid()))
    dead = claim_of(tmp_path, 2, **machine(), pid=dead_process())
    for name in ("01", "001", "١"):
        (tmp_path / f"work.{name}.claim").write_bytes(dead.read_bytes())
    assert list(claims._generations(tmp_path, "work")) == [1, 2]
    assert not is_free(tmp_path)
    live.unlink()


def test_the_claim_of_an_owner_that_took_over_is_kept(tmp_path: Path) -> None:
    """After a suspension of minutes, another machine may have taken the work over, and use the same name again."""
    with Claims().claim(tmp_path, "work"):
        taken = claim_of(tmp_path)
    assert json.loads(taken.read_text(encoding="utf-8"))["host"] == "elsewhere"


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_stale_claim_in_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Nobody could ever take the claim over, so that waiting for it would never end."""
    os.utime(claim_of(tmp_path), (0, 0))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(BenchError, match=f"cannot write .*{os.strerror(error)}"), Claims().claim(tmp_path, "work"):
        pass


def test_waiting_names_the_owner_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The owner may be suspended, so that the wait has no end."""
    monkeypatch.setattr(claims, "TELL_AFTER_S", 0.01)
    owner = claim_of(tmp_path, **machine(), pid=os.getpid(), started=start_time(os.getpid()))
    timer = threading.Timer(0.2, owner.unlink)
    timer.start()
    with Claims().wait_for(tmp_path, "work", wait_s=0.02):
        timer.join()
    said = capsys.readouterr().err.splitlines()
    assert said == [f"waiting for process {os.getpid()} on {machine()['host']}, which has the claim on work"]


def test_the_folder_of_a_claim_may_disappear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim_of(tmp_path / "claims", 3, **machine(), pid=dead_process())

    def gone(folder: Path) -> NoReturn:
        shutil.rmtree(tmp_path / "claims")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "iterdir", gone)
    with Claims().claim(tmp_path / "claims", "work") as mine:
        assert mine


def test_a_claim_without_a_heartbeat_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with (
            pytest.raises(BenchError, match="can't start new thread; raise 'ulimit -u'"),
            Claims().claim(tmp_path, "work"),
        ):
            pass
    assert is_free(tmp_path)
