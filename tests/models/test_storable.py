"""Networks with tied weights are stored, and entries that no file can hold are named before the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from bench.core.errors import CellFailure
from bench.models.storable import storable

MODELS = """
from torch import nn
from bench.models.registry import ModelEntry, register_model

class Tied(nn.Sequential):
    def __init__(self, size):
        super().__init__(nn.Flatten(), nn.Linear(3 * size**2, 8), nn.Linear(8, 8), nn.Linear(8, 8))
        self[3].weight = self[2].weight

class Extra(nn.Sequential):
    def __init__(self, size):
        super().__init__(nn.Flatten(), nn.Linear(3 * size**2, 8))

    def get_extra_state(self):
        return {"steps": 0}

    def set_extra_state(self, state):
        pass

def tied(*, image_size): return Tied(image_size)
def extra(*, image_size): return Extra(image_size)

for build in (tied, extra):
    register_model(build.__name__, ModelEntry(summary="s", source="s", build=build), __file__)
"""


def test_tied_weights_and_views_are_stored_entry_by_entry() -> None:
    first, last = nn.Linear(3, 3), nn.Linear(3, 3)
    last.weight = first.weight
    model = nn.Sequential(first, last)
    model.register_buffer("view", first.weight.detach()[1:])
    found = load(save(storable(model.state_dict())))
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("entry", [{"steps": 1}, 3, torch.eye(3).to_sparse()])
def test_an_entry_that_no_file_holds_is_named(entry: object) -> None:
    with pytest.raises(CellFailure, match="entry 'a' of the model's state_dict"):
        storable({"a": entry})


def test_a_run_stores_tied_weights_and_names_an_extra_state(bench: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(MODELS)
    outcome = bench(
        "run", "--plugin", tmp_path / "plugin.py", "--models", "tied,extra", "--variants", "baseline", "--limit", "40",
        "--dataset", "digits", "--epochs", "1", "--attacks", "none", "--no-diagnose", "--results", tmp_path / "out",
    )  # fmt: skip
    assert (outcome.code, "1 trained, 1 of 2 cells computed" in outcome.err) == (3, True)
    assert "extra:baseline:0: training failed: model_error: entry 'backbone._extra_state'" in outcome.err
    assert bench("verify", "--all", "--results", tmp_path / "out").code == 0
