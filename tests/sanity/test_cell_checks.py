"""The checks of a cell: noise is found and counted, and so are the images whose margin has no gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oddities import DeadFor, Detached, Elsewhere, Noisy, Stepped, linear, some
from torch import Tensor, nn

from bench.core.errors import CellFailure
from bench.data.tensors import Images, spread
from bench.sanity.cell_checks import ZeroGradients, check_gradients, check_randomised

CPU = torch.device("cpu")


def randomised(model: nn.Module, count: int = 50, batch_size: int = 16) -> list[str]:
    images = some(count)
    return [found.note for found in check_randomised(model, images, torch.arange(count), CPU, batch_size)]


def gradients(model: nn.Module, images: Images, batch_size: int = 16) -> list[str]:
    found = check_gradients(model, images, torch.arange(len(images)), CPU, batch_size)
    return [*found.notes, *(finding.note for finding in found.findings)]


def test_noise_is_found_and_counted() -> None:
    (note,) = randomised(Noisy(0.1))
    assert note.startswith("randomised: logits of 50 of 50 images differ between two passes, by up to 0.")
    (note,) = randomised(Noisy(0.1, only=3), batch_size=50)
    assert "of 1 of 50 images" in note


@pytest.mark.parametrize("model", [linear(), nn.Sequential(nn.Dropout(0.5), linear()), Noisy(1e-7)])
def test_what_is_rounding_or_training_only_is_no_noise(model: nn.Module) -> None:
    assert randomised(model.train()) == []


def switched_off(logits: Tensor) -> Tensor:
    """Switch off a class, as classifiers do that were trained on more classes."""
    return logits.index_fill(1, torch.tensor([9]), -1e9)


def one_huge_image(logits: Tensor) -> Tensor:
    return torch.cat([logits[:1] * 1e9, logits[1:]])


@pytest.mark.parametrize("change", [switched_off, one_huge_image])
def test_huge_logits_hide_no_noise_of_others(change: Callable[[Tensor], Tensor]) -> None:
    class Changed(Noisy):
        def forward(self, inputs: Tensor) -> Tensor:
            return change(super().forward(inputs))

    assert len(randomised(Changed(0.1), batch_size=50)) == 1
    assert randomised(Changed(1e-7), batch_size=50) == []


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


def test_the_gradient_of_a_piecewise_constant_model_is_zero() -> None:
    expected = ["zero_gradient: the gradient of the margin is zero at 50 of 50 attacked images"]
    assert gradients(Stepped(), some(50)) == expected


@pytest.mark.parametrize("model", [Detached(), Elsewhere()])
def test_an_absent_gradient_is_an_error(model: nn.Module) -> None:
    with pytest.raises(CellFailure, match="gives no gradient") as raised:
        gradients(model, some(50))
    assert raised.value.reason == "no_gradient"


@pytest.mark.parametrize(
    ("dead", "before"), [(0, None), (2, None), (3, ""), (100, ""), (101, "zero_gradient: "), (200, "zero_gradient: ")]
)
def test_the_share_decides(dead: int, before: str | None) -> None:
    """A note from more than 1 % of 200 images on, a flag from more than half of them on."""
    note = f"the gradient of the margin is zero at {dead} of 200 attacked images"
    expected = [] if before is None else [before + note]
    assert gradients(DeadFor().requires_grad_(False), some(200, dead), batch_size=7) == expected


def test_a_gradient_that_is_zero_in_some_pixels_is_not_zero() -> None:
    model = linear()
    with torch.no_grad():
        model[1].weight[:, :10] = 0
    assert gradients(model, some(50)) == []


def test_only_the_images_that_are_attacked_count() -> None:
    images, alive = some(50, dead=10), torch.arange(10, 50)
    assert check_gradients(DeadFor(), images, alive, CPU, 16) == ZeroGradients()
    assert check_gradients(DeadFor(), images, alive[:0], CPU, 16) == ZeroGradients()


def test_of_many_images_some_of_every_part_are_asked() -> None:
    """The dead ones all stand at the end, as the last class of a set in the order of its classes."""
    images = some(2500)
    images.pixels[:, 0, 0, 0] = 0
    images.pixels[-100:, 0, 0, 0] = 1
    (note,) = gradients(DeadFor(), images, batch_size=500)
    assert note == "the gradient of the margin is zero at 40 of 1000 attacked images"


@pytest.mark.parametrize("period", [2, 4, 10])
def test_an_order_that_comes_round_hides_no_class(period: int) -> None:
    classes = torch.arange(10_000) % period
    counts = torch.bincount(classes[spread(torch.arange(10_000), 1000)])
    assert counts.sum() == 1000
    assert counts.min() > 0.7 * 1000 / period


@pytest.mark.parametrize(("count", "most"), [(0, 5), (5, 5), (6, 5), (999, 1000), (1500, 1000)])
def test_as_many_as_may_be_are_asked_each_once(count: int, most: int) -> None:
    asked = spread(torch.arange(count), most).tolist()
    assert len(asked) == min(count, most)
    assert asked == sorted(set(asked)) == spread(torch.arange(count), most).tolist(), "always the same"
