"""Every system call on a results folder may fail, or find that another process has deleted the file: one sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import store_with

RIGHT = [True, True, False]
CALLS = (
    "stat",
    "lstat",
    "scandir",
    "listdir",
    "open",
    "unlink",
    "rename",
    "replace",
    "mkdir",
    "rmdir",
    "link",
    "utime",
)


class Faults:
    """Let the call number ``at`` of the function ``name`` of os fail below ``root``."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.name, self.at, self.error, self.count = str(root), "", 0, 0, 0
        for name in CALLS:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **options: Any) -> Any:
            if name == self.name and arguments and str(arguments[0]).startswith(self.root):
                self.count += 1
                if self.count == self.at:
                    raise OSError(self.error, os.strerror(self.error), str(arguments[0]))
            return call(*arguments, **options)

        return failing


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT], ids=["broken", "deleted meanwhile"])
@pytest.mark.parametrize("command", ["show tiny:baseline", "gc --delete", "rm tiny:baseline --yes"])
def test_a_call_that_fails_is_one_sentence(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, error: int
) -> None:
    faults, failed = Faults(tmp_path, monkeypatch), 0
    for name in CALLS:
        for at in range(1, 9):
            folder = tmp_path / f"{name}-{at}"
            faults.name = ""
            store = store_with(folder, {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
            for path in (folder / ".a.0a-1-1.x.tmp", store.training_path(store.runs()[0].run_id)):
                path.write_bytes(b"x")
                os.utime(path, (1, 1))
            faults.name, faults.at, faults.error, faults.count = name, at, error, 0
            outcome = bench(*command.split(), "--results", folder)
            assert outcome.code in (0, 2), (name, at)
            assert outcome.code == 0 or outcome.err.startswith("error: "), (name, at)
            failed += outcome.code == 2
            if faults.count < at:
                break
    assert failed or error == errno.ENOENT
