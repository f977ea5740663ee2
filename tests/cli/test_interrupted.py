"""An interrupted command says what is stored."""

from __future__ import annotations

import pytest

from bench.cli import cli, invoke
from bench.cli.interrupted import SENTENCES
from bench.core.vocabulary import COMMANDS
from bench.runtime.interrupt import Terminated


def test_the_commands_exist() -> None:
    assert set(SENTENCES) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--models", "resnet18"], "finished trainings and cells are stored, and the state of running ones"),
        (["audit", "resnet18:lpc"], "finished measurements are stored"),
        (["verify", "--all"], "the results folder is unchanged."),
        (["show", "run"], "the results folder is unchanged."),
        (["gc"], "the results folder is unchanged."),
        (["gc", "--delete"], "some files may be deleted already"),
        (["leaderboard"], "files that were already written are complete"),
    ],
)
def test_an_interrupted_command_says_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise Terminated

    monkeypatch.setattr(cli, "main", stopped)
    assert invoke(arguments) == 143
    assert f"interrupted; {sentence}" in capsys.readouterr().err
