"""The margin's gradient against models where it is known, masked models among them."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import LinearModel
from torch import Tensor, nn

from bench.diagnostics.local import LocalSensitivity, local_sensitivity, margin_gradients, summarise
from bench.models.margins import logit_margins

SIDE = 5
PIXELS = 3 * SIDE * SIDE


def images(count: int) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()


def binary() -> LinearModel:
    weight = torch.randn(PIXELS, generator=torch.Generator().manual_seed(1)).double()
    return LinearModel(weight, bias=float(-0.5 * weight.sum()))


class Scaled(nn.Module):
    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * self.model(inputs)


def deep(dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(36, 4))
    return model.to(dtype)


def test_the_margin_is_over_the_highest_other_logit() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [5.0, 5.0, 0.0]])
    assert logit_margins(logits, torch.tensor([0, 1, 0])).tolist() == [1.0, -2.0, 0.0]


def test_two_others_at_one_height_do_not_cancel() -> None:
    """Logits (1, s, −s) at s = 0: whichever class is taken, the margin falls with slope 1 to either side."""

    class Fork(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            s = inputs.flatten(1)[:, 0] - 0.5
            return torch.stack([torch.ones_like(s), s, -s], dim=1)

    _, norm = margin_gradients(Fork(), torch.full((2, 3, SIDE, SIDE), 0.5), torch.zeros(2, dtype=torch.int64), 2)
    assert norm.tolist() == [1.0, 1.0]


def test_the_radius_of_a_linear_binary_model_is_its_exact_distance() -> None:
    model, inputs = binary(), images(31)
    labels = model(inputs).argmax(1)
    margin, norm = margin_gradients(model, inputs, labels, 8)
    assert torch.allclose(margin / norm, model.margin(inputs, "l2"))
    found = local_sensitivity(model, inputs, labels, batch_size=8)
    assert found.local_radius_median.value == pytest.approx(model.margin(inputs, "l2").median().item())
    slope = model.weight.norm().item()
    assert found.gradient_norm_mean.value == pytest.approx(slope)
    assert found.gradient_norm_max.value == pytest.approx(slope)
    assert found.zero_gradient_share.value == 0
    assert (found.n, found.n_correct) == (31, 31)


def test_wrong_images_count_for_the_gradient_and_not_for_the_radius() -> None:
    model, inputs = binary(), images(30)
    labels = model(inputs).argmax(1)
    labels[:10] = 1 - labels[:10]
    found = local_sensitivity(model, inputs, labels, batch_size=30)
    exact = model.margin(inputs, "l2")[10:].sort().values
    assert found.local_radius_median.value == pytest.approx(float(exact[9:11].mean().detach()))
    assert (found.n, found.n_correct) == (30, 20)
    none = local_sensitivity(model, inputs, 1 - model(inputs).argmax(1), batch_size=30)
    assert math.isnan(none.local_radius_median.value)
    assert "correctly" in none.local_radius_median.reason
    assert none.gradient_norm_mean.value > 0


def test_larger_logits_change_the_gradient_and_not_the_radius() -> None:
    model, inputs = deep().eval(), images(40)
    labels = model(inputs).argmax(1)
    plain = local_sensitivity(model, inputs, labels, batch_size=16)
    loud = local_sensitivity(Scaled(model, 1000.0), inputs, labels, batch_size=16)
    assert loud.local_radius_median.value == pytest.approx(plain.local_radius_median.value, rel=1e-9)
    assert loud.gradient_norm_mean.value == pytest.approx(1000 * plain.gradient_norm_mean.value, rel=1e-9)


def test_the_gradient_is_that_of_finite_differences() -> None:
    model, inputs = deep().eval(), images(1)
    labels = model(inputs).argmax(1)
    _, norm = margin_gradients(model, inputs, labels, 1)
    differences = torch.zeros(PIXELS).double()
    for i in range(PIXELS):
        step = torch.zeros(PIXELS).double()
        step[i] = 1e-6
        up, down = (logit_margins(model(inputs + sign * step.view_as(inputs)), labels) for sign in (1, -1))
        differences[i] = (up - down).item() / 2e-6
    assert norm.item() == pytest.approx(differences.norm().item(), rel=1e-6)


def test_masked_images_are_counted_and_are_infinitely_far() -> None:
    """Two in five have no gradient: they move the median up, lower the mean and show in the share."""
    norm = torch.tensor([0.0, 2.0, 1.0, 0.0, 4.0])
    found = summarise(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0]), norm)
    assert found.zero_gradient_share.value == pytest.approx(0.4)
    assert found.gradient_norm_mean.value == pytest.approx(1.4)
    assert found.gradient_norm_max.value == 4
    assert found.local_radius_median.value == pytest.approx(1.0)  # of 1/4, 1/2, 1, ∞, ∞


def test_a_tiny_gradient_is_no_zero_and_is_not_dropped() -> None:
    """The published metric leaves out norms up to 1e-9; its float32 squares would vanish as well."""
    inputs = images(9).float()
    model = Scaled(LinearModel(binary().weight.float().detach(), binary().bias), 2.0**-90)
    found = local_sensitivity(model, inputs, model(inputs).argmax(1), batch_size=9)
    assert found.zero_gradient_share.value == 0
    assert found.gradient_norm_mean.value == pytest.approx(2.0**-90 * binary().weight.norm().item(), rel=1e-5)
    exact = binary().margin(inputs, "l2").median().item()
    assert found.local_radius_median.value == pytest.approx(exact, rel=1e-4)


def test_a_model_masked_for_most_has_no_median_radius_but_a_reason() -> None:
    found = summarise(torch.ones(4), torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert math.isnan(found.local_radius_median.value)
    assert "gradient is zero" in found.local_radius_median.reason
    assert found.zero_gradient_share.value == 0.75


@pytest.mark.parametrize(
    ("margin", "norm", "word"),
    [([], [], "no images"), ([1.0, 1.0], [math.nan, 1.0], "1 of 2"), ([math.inf], [1.0], "1")],
)
def test_what_is_not_finite_is_named(margin: list[float], norm: list[float], word: str) -> None:
    found = summarise(torch.tensor(margin), torch.tensor(norm))
    assert isinstance(found, LocalSensitivity)
    for value in (
        found.gradient_norm_mean, found.gradient_norm_max, found.zero_gradient_share, found.local_radius_median,
    ):  # fmt: skip
        assert math.isnan(value.value)
        assert word in value.reason


def test_batches_do_not_matter_and_the_model_is_evaluated() -> None:
    """Batch normalisation in training would mix the images of a batch."""
    model, inputs = deep().train(), images(10)
    labels = torch.arange(10) % 4
    whole, parts = margin_gradients(model, inputs, labels, 10), margin_gradients(model, inputs, labels, 3)
    assert torch.allclose(whole[0], parts[0])
    assert torch.allclose(whole[1], parts[1])
    assert whole[1].dtype == torch.float64
    assert all(parameter.grad is None for parameter in model.parameters())
