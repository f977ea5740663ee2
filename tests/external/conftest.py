"""Files of a plain training script, and a way to call ``bench evaluate`` on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain_training import MEAN, STD, Plain, images_of, trained


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder, files, right = tmp_path_factory.mktemp("plain"), {}, {}
    inputs, labels = images_of("test")
    for kind, noise in (("plain", 0.0), ("noise", 0.2)):
        for seed in (0, 1):
            network = trained(seed, noise)
            path = files[kind, seed] = folder / f"{kind}{seed}.pth"
            state = {f"module.{key}": value for key, value in network.state_dict().items()}
            torch.save({"epoch": 4, "model_state_dict": state, "optimizer": {"lr": 2e-3}}, path)
            with torch.no_grad():
                right[kind, seed] = int((network((inputs - MEAN) / STD).argmax(1) == labels).sum())
    return Plain(files, right, len(labels))


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
