"""Files of a plain training script, a results folder of theirs, and a way to call ``bench evaluate`` on them."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from plain_training import ARCHITECTURE, MEAN, STD, Plain, images_of, trained

from bench.cli import invoke


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder, files, right = tmp_path_factory.mktemp("plain"), {}, {}
    inputs, labels = images_of("test")
    first = trained(0, 0.0)
    for kind, noise in (("plain", 0.0), ("noise", 0.2)):
        for seed in (0, 1):
            network = first if (kind, seed) == ("plain", 0) else trained(seed, noise, first)
            path = files[kind, seed] = folder / f"{kind}{seed}.pth"
            state = {f"module.{key}": value for key, value in network.state_dict().items()}
            torch.save({"epoch": 4, "model_state_dict": state, "optimizer": {"lr": 2e-3}}, path)
            with torch.no_grad():
                right[kind, seed] = int((network((inputs - MEAN) / STD).argmax(1) == labels).sum())
    return Plain(files, right, len(labels))


@dataclass(frozen=True)
class Board:
    """A results folder, and by variant the arguments that filled it and the messages of that command."""

    folder: Path
    arguments: dict[str, list[str]]
    messages: dict[str, str]


@pytest.fixture(scope="session")
def shared_board(plain: Plain, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Two seeds, 3 and 4, of two variants: clean on all test images, FGSM on 60 of them."""
    board = Board(tmp_path_factory.mktemp("board"), {}, {})
    common = ["--model", ARCHITECTURE, "--seed", "3", "--corruptions", "none", "--attacks", "fgsm", "--eps", "0.1"]
    common += ["--limit", "all", "--attack-limit", "fgsm=60", "--save-adversarials", "float32"]
    for variant, kind in (("baseline", "plain"), ("noise", "noise")):
        files = [str(plain.files[kind, 0]), str(plain.files[kind, 1])]
        board.arguments[variant] = ["evaluate", *files, "--as-variant", variant, *common]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = invoke([*board.arguments[variant], "--audit", "none", "--results", str(board.folder)])
        assert code == 0, err.getvalue()
        board.messages[variant] = err.getvalue()
    return board


@pytest.fixture
def board(shared_board: Board, tmp_path: Path) -> Board:
    """A copy, which the test may change."""
    folder = shutil.copytree(shared_board.folder, tmp_path / "board")
    return Board(folder, shared_board.arguments, shared_board.messages)


@pytest.fixture
def few_probe_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe each network on 64 images: for tests of something else, or of an error that 64 images show."""
    monkeypatch.setattr("bench.external.load_file.PROBE_IMAGES", 64)


@pytest.fixture
def evaluate_cli(bench: Callable[..., object]) -> Callable[..., object]:
    """Call ``bench evaluate`` on digits without corruptions and audit, as far as nothing else is asked for."""

    def call(*arguments: object) -> object:
        texts = list(map(str, arguments))
        for option, value in (("--corruptions", "none"), ("--attacks", "fgsm"), ("--eps", "0.1"), ("--limit", "60")):
            texts += [] if option in texts else [option, value]
        texts += [] if "--audit" in texts else ["--audit", "none"]
        return bench("evaluate", *texts)

    return call
