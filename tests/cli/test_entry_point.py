"""``python -m bench``: signals before the command begins and after it has ended."""

from __future__ import annotations

import pytest

from bench import __main__, cli
from bench.runtime import console
from bench.runtime.interrupt import Terminated


@pytest.mark.parametrize(("error", "code"), [(Terminated, 143), (KeyboardInterrupt, 130)])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_outside_of_the_command_exits_with_its_code(
    error: type[BaseException], code: int, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise error

    monkeypatch.setattr(console, "harden", lambda: None)
    monkeypatch.setattr(__main__.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli, "invoke", interrupted if moment == "before" else lambda _: 0)
    monkeypatch.setattr(console, "flush", interrupted if moment == "after" else lambda: None)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == code
