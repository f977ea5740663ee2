"""Flags: a model that answers otherwise when asked again, and one without gradients, do not pass for robust."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from records import cell_record, run_record, samples_of
from torch import Tensor, nn

from bench import api
from bench.audit import check_gradients, check_randomised
from bench.data.tensors import Images
from bench.leaderboard import rebuild
from bench.store import Store

CPU = torch.device("cpu")

evaluate = partial(api.evaluate, corruptions="none")


def linear(num_classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, num_classes)).eval()


class Noisy(nn.Module):
    """Gaussian noise on the logits, in evaluation too."""

    def __init__(self, sigma: float, only: int | None = None) -> None:
        super().__init__()
        self.net, self.sigma, self.only = linear(), sigma, only

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        noise = self.sigma * torch.randn_like(logits)
        if self.only is not None:
            noise[torch.arange(len(noise)) != self.only] = 0
        return logits + noise


class Stepped(nn.Module):
    """Piecewise constant: the image in ``levels`` steps, integers after that. No gradient anywhere."""

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.net, self.levels = linear(), levels

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net((inputs * self.levels).round() / self.levels)
        return (100 * logits).round()


class Detached(Stepped):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach()


class Elsewhere(Stepped):
    """Logits that depend on a parameter and on nothing else, so that they have a gradient, but not to the image."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach() + self.net[1].bias


class DeadFor(nn.Module):
    """Linear, but without gradient on images whose first pixel is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.net = linear()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        return torch.where((inputs[:, 0, 0, 0] > 0.5)[:, None], logits.detach(), logits)


def some(count: int, dead: int = 0) -> Images:
    pixels = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels[:, 0, 0, 0] = (torch.arange(count) < dead).float()
    return Images([str(i) for i in range(count)], pixels, torch.arange(count) % 10)


def randomised(model: nn.Module, count: int = 50, batch_size: int = 16) -> list[str]:
    images = some(count)
    return [note for _, note in check_randomised(model, images, torch.arange(count), CPU, batch_size)]


def gradients(model: nn.Module, images: Images, batch_size: int = 16) -> list[str]:
    return [note for _, note in check_gradients(model, images, torch.arange(len(images)), CPU, batch_size)]


def test_noise_is_found_and_counted() -> None:
    (note,) = randomised(Noisy(0.1))
    assert note.startswith("randomised: logits of 50 of 50 images differ between two passes, by up to 0.")
    (note,) = randomised(Noisy(0.1, only=3), batch_size=50)
    assert "of 1 of 50 images" in note


@pytest.mark.parametrize("model", [linear(), nn.Sequential(nn.Dropout(0.5), linear()), Noisy(1e-7)])
def test_what_is_rounding_or_training_only_is_no_noise(model: nn.Module) -> None:
    assert randomised(model.train()) == []


@pytest.mark.parametrize("finite", [0, 1])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_answer_that_is_there_only_once_is_no_equal(finite: int, value: float) -> None:
    """One of two passes gives infinity, or 0/0."""

    class Once(nn.Module):
        calls = finite

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            return torch.full((len(inputs), 10), value) / (self.calls % 2)

    assert len(randomised(Once())) == 1


def test_a_model_that_counts_its_calls_is_randomised() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.net = 0, linear()

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            logits: Tensor = self.net(inputs)
            return logits.roll(self.calls % 2, 1)

    assert len(randomised(Alternating())) == 1


@pytest.mark.parametrize("model", [Stepped(), Detached(), Elsewhere()])
def test_a_piecewise_constant_model_has_no_gradient(model: nn.Module) -> None:
    assert gradients(model, some(50)) == ["zero_gradient: on 50 of 50 attacked images"]


@pytest.mark.parametrize(("dead", "flagged"), [(0, False), (2, False), (3, True), (200, True)])
def test_the_share_decides(dead: int, flagged: bool) -> None:
    """More than 1 % of 200 images."""
    expected = [f"zero_gradient: on {dead} of 200 attacked images"] if flagged else []
    assert gradients(DeadFor().requires_grad_(False), some(200, dead), batch_size=7) == expected


def test_only_the_images_that_are_attacked_count() -> None:
    images, alive = some(50, dead=10), torch.arange(10, 50)
    assert check_gradients(DeadFor(), images, alive, CPU, 16) == ()
    assert check_gradients(DeadFor(), images, alive[:0], CPU, 16) == ()


def test_of_many_images_some_of_every_part_are_asked() -> None:
    """The dead ones all stand at the end, as the last class of a set in the order of its classes."""
    images = some(2500)
    images.pixels[-100:, 0, 0, 0] = 1
    (note,) = gradients(DeadFor(), images, batch_size=500)
    assert note == "zero_gradient: on 34 of 834 attacked images"


def test_the_flag_goes_where_the_number_goes(tmp_path: Path, bench: Callable[..., Any]) -> None:
    evaluate(Noisy(0.5), name="noisy", attacks=["fgsm"], eps=["0.1"], limit=40, results=tmp_path, device="cpu")
    rows = evaluate(Stepped(), name="steps", attacks=["fgsm", "square"], eps=["0.1"], limit=40, results=tmp_path)
    flags = rows.set_index("attack")["flags"].to_dict()
    assert flags == {"clean": "", "fgsm": "zero_gradient", "square": ""}
    assert "zero_gradient: on " in rows.set_index("attack").loc["fgsm", "notes"]
    written = pd.read_csv(tmp_path / "results.csv").set_index(["model", "attack"])["flags"]
    assert written["noisy", "clean"] == written["noisy", "fgsm"] == "randomised"
    board = pd.read_csv(tmp_path / "leaderboard.csv").set_index("model")
    assert board.loc["noisy", "clean_flags"] == "randomised"
    assert board.loc["steps", "fgsm@linf-0.1_flags"] == "zero_gradient"
    assert pd.isna(board.loc["steps", "clean_flags"])
    shown = bench("leaderboard", "--results", tmp_path).out
    assert (shown.count("⚑randomised"), shown.count("⚑zero_gradient")) == (2, 1)
    assert "⚑zero_gradient" in bench("show", "steps:external", "--results", tmp_path).out
    assert rows.set_index("attack").loc["fgsm", "n_forwards"] == rows.set_index("attack").loc["fgsm", "n_attacked"]


def test_an_ordinary_model_has_no_flag() -> None:
    rows = evaluate(linear(), name="plain", attacks=["fgsm", "pgd-2"], eps=["0.1"], limit=40)
    assert set(rows["flags"]) == {""}


def test_one_flagged_seed_marks_the_mean(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, flags in ((0, ()), (1, ("zero_gradient", "randomised"))):
        run = run_record(seed=seed)
        store.write_run(run, None)
        record = cell_record(run, "clean", [True] * 4)
        store.write_cell(dataclasses.replace(record, flags=flags), samples_of([True] * 4))
    assert rebuild(store).iloc[0]["clean_flags"] == "randomised;zero_gradient"
