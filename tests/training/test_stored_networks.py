"""A stored network computes the same function when it is loaded again without the file of its first weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from bench.core.errors import BenchError
from bench.evaluation.load_run import reopen
from bench.models.backbones import Layout, build_backbone
from bench.results.store import Store

NAME = "mobilenetv3_small_050"  # its weights fit the native stem and the one for small images


@pytest.mark.parametrize("started_from", ["file", "random weights"])
def test_it_is_the_network_that_was_evaluated(started_from: str, bench: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model(NAME, num_classes=10).state_dict(), path)
    options = ["--checkpoint-path", path] if started_from == "file" else []
    shown = bench(
        "run", "--models", NAME, "--variants", "baseline", "--dataset", "digits", "--epochs", "0", "--limit", "100",
        "--attacks", "none", "--no-diagnose", "--results", tmp_path / "out", *options,
    )  # fmt: skip
    assert shown.code == 0, shown.err
    store = Store(tmp_path / "out")
    (run,) = store.runs()
    assert run.stem == ("native" if started_from == "file" else "small")
    opened = reopen(run, store, data_dir=None, device="cpu")
    images = opened.context.images("test", 100)
    (cell,) = store.cells(run.run_id)
    with torch.no_grad():
        classes = opened.model(images.inputs(torch.arange(100), torch.device("cpu"))).argmax(1)
    assert classes.tolist() == [sample.clean_pred for sample in store.read_samples(cell)]


def test_a_layout_that_no_longer_exists_is_refused() -> None:
    with pytest.raises(BenchError, match="can no longer be built with the small stem for inputs of 7 px"):
        build_backbone(NAME, image_size=8, num_classes=10, layout=Layout("small", 7))
