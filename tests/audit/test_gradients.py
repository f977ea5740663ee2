"""Models whose gradients can be written down: what is zero, tiny or no number is known in advance."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from oddities import DeadFor, Detached, Elsewhere, Stepped, Whole, linear, some
from torch import Tensor, nn

from bench.attacks.objectives import dlr
from bench.audit.gradients import COLUMNS, LOSSES, GradientReport, gradient_report, loss_functions
from bench.models.margins import logit_margins

GAPS = ("logit_gap_q10", "logit_gap_q50", "logit_gap_q90")
DOUBLE = ("float64_disagree", "float64_difference")


class Readout(nn.Module):
    """Logits that are pixels, after ``change``: ∂loss/∂pixel is ∂loss/∂logit times the change's slope."""

    def __init__(self, num_classes: int, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.num_classes, self.change = num_classes, change

    def forward(self, inputs: Tensor) -> Tensor:
        return self.change(inputs[:, 0, 0, : self.num_classes])


def showing(rows: list[list[float]]) -> Tensor:
    """Images of 8 pixels a side whose first ones are ``rows``."""
    images = torch.zeros(len(rows), 3, 8, 8)
    images[:, 0, 0, : len(rows[0])] = torch.tensor(rows)
    return images


def report(model: nn.Module, inputs: Tensor | None = None, labels: Tensor | None = None) -> GradientReport:
    images = some(20)
    inputs = images.pixels if inputs is None else inputs
    return gradient_report(model, inputs, images.labels if labels is None else labels, batch_size=7)


def of(found: GradientReport, what: str) -> dict[str, float | None]:
    return {loss: found.values[f"{what}_gradient_{loss}"] for loss in LOSSES}


def each(value: float) -> dict[str, float]:
    return dict.fromkeys(LOSSES, value)


def test_a_linear_model_has_its_weights_for_gradients() -> None:
    """∂margin/∂x = W_y − W_j, ∂CE/∂x = Wᵀ(p − e_y): neither is small."""
    model, images = linear(), some(20)
    found = report(model, labels=model(images.pixels).argmax(1))
    assert list(found.values) == list(COLUMNS)
    assert of(found, "zero") == of(found, "tiny") == of(found, "nonfinite") == each(0)
    assert found.values["softmax_one"] == 0
    top = np.sort(model(images.pixels).detach().double().numpy(), 1)
    expected = np.quantile(top[:, -1] - top[:, -2], [0.1, 0.5, 0.9])
    assert [found.values[name] for name in GAPS] == pytest.approx(list(expected), abs=1e-6)
    assert found.values["float64_disagree"] == 0
    assert 0 < found.values["float64_difference"] < 1e-6
    assert (found.n_forwards, found.n_backwards, found.notes) == (40, 60, {})


def test_large_logits_hide_the_cross_entropy_and_nothing_else() -> None:
    """Computed by hand for logits g + 0.3, 0.2, 0.1, 0, made of pixels times 1000, in float32.

    p_y − 1 is 0 from g ≈ 17 on and the others' p_j = exp(−g) from 104 on; the last image is wrong, where p_y − 1 = −1.
    """
    gaps = [1.0, 20.0, 60.0, 120.0, 500.0, 500.0]
    inputs = showing([[(gap + 0.3) / 1000, 0.2e-3, 0.1e-3, 0] for gap in gaps])
    found = report(Readout(4, lambda z: 1000 * z), inputs, torch.tensor([0, 0, 0, 0, 0, 1]))
    assert of(found, "zero") == {"ce": 2 / 6, "margin": 0, "dlr": 0}
    assert of(found, "tiny") == {"ce": 3 / 6, "margin": 0, "dlr": 0}  # 1000·exp(−60) is 9e-24
    assert of(found, "nonfinite") == each(0)
    assert found.values["softmax_one"] == 5 / 6
    quantiles = np.quantile(np.array(gaps) + 0.1, [0.1, 0.5, 0.9])
    assert [found.values[name] for name in GAPS] == pytest.approx(list(quantiles), rel=1e-5)


def test_a_sure_linear_model_times_1000() -> None:
    model, images = linear(), some(20)
    logits = model(images.pixels).detach()
    labels = logits.argmax(1)
    model[1].weight.data.mul_(1000)
    model[1].bias.data.mul_(1000)
    found = report(model, labels=labels)
    top = 1000 * logits.sort(1, descending=True).values
    rest = (top[:, 1:] - top[:, :1]).numpy()
    share = np.float32(np.exp(rest.astype(np.float32))).sum(1)  # of the other classes: nothing left of them in float32
    assert found.values["zero_gradient_ce"] == (share == 0).mean()
    assert found.values["softmax_one"] == (np.float32(1) / (np.float32(1) + share) == 1).mean()
    assert 0 < found.values["zero_gradient_ce"] < found.values["softmax_one"] <= 1
    assert found.values["zero_gradient_margin"] == found.values["tiny_gradient_dlr"] == 0


def test_the_ratio_is_constant_where_the_label_is_third() -> None:
    """(z_π1 − z_y) / (z_π1 − z_π3) = 1, of any model."""
    inputs = showing([[0.9, 0.5, 0.3, 0.1]] * 4)
    found = report(Readout(4, lambda z: z), inputs, torch.tensor([0, 1, 2, 3]))
    assert of(found, "zero") == {"ce": 0, "margin": 0, "dlr": 0.25}


def test_two_classes_have_a_margin_in_place_of_the_ratio() -> None:
    """The DLR of two classes would be ±1 everywhere."""
    found = report(Readout(2, lambda z: z), showing([[0.9, 0.1], [0.2, 0.6]]), torch.tensor([0, 0]))
    assert of(found, "zero") == of(found, "tiny") == each(0)
    note = "computed for the margin instead of the DLR, which is undefined for 2 classes"
    assert found.notes == {f"{what}_gradient_dlr": note for what in ("zero", "tiny", "nonfinite")}


def test_the_losses_are_those_of_the_attacks() -> None:
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    three, two = loss_functions(3), loss_functions(2)
    assert torch.equal(three["dlr"](logits, labels), dlr(logits, labels).sum())
    assert torch.equal(three["margin"](logits, labels), logit_margins(logits, labels).sum())
    own = logits.gather(1, labels[:, None]).squeeze(1)
    assert float(three["ce"](logits, labels)) == pytest.approx(float((logits.logsumexp(1) - own).sum()), rel=1e-6)
    pair, labels = logits[:, :2], labels % 2
    assert torch.equal(two["dlr"](pair, labels), two["margin"](pair, labels))
    assert report(Readout(3, lambda z: z), torch.rand(20, 3, 8, 8), torch.arange(20) % 3).notes == {}


def test_a_constant_model_has_no_gradient_and_makes_no_backward_pass() -> None:
    found = report(Readout(4, lambda z: torch.arange(4.0).expand(len(z), 4)), labels=torch.arange(20) % 4)
    assert of(found, "zero") == of(found, "tiny") == each(1)
    assert of(found, "nonfinite") == each(0)
    assert [found.values[name] for name in GAPS] == [1, 1, 1]
    assert (found.n_forwards, found.n_backwards) == (40, 0)


@pytest.mark.parametrize("model", [Stepped(), Detached(), Elsewhere(), Whole()])
def test_logits_that_cannot_be_differentiated_have_the_gradient_zero(model: nn.Module) -> None:
    found = report(model)
    assert of(found, "zero") == of(found, "tiny") == each(1)
    assert found.values["float64_disagree"] is not None


def test_some_images_without_gradient() -> None:
    found = report(DeadFor(), some(20, dead=5).pixels)
    assert of(found, "zero") == of(found, "tiny") == each(0.25)


def test_tiny_gradients_are_not_zero() -> None:
    found = report(Readout(4, lambda z: 1e-13 * z), showing([[0.9, 0.5, 0.3, 0.1]]), torch.tensor([0]))
    assert of(found, "zero") == each(0)
    assert (found.values["tiny_gradient_ce"], found.values["tiny_gradient_margin"]) == (1, 1)
    assert found.values["tiny_gradient_dlr"] == 0  # the ratio does not know the scale, down to its 1e-12
    found = report(Readout(4, lambda z: 1e-11 * z), showing([[0.9, 0.5, 0.3, 0.1]]), torch.tensor([0]))
    assert of(found, "tiny") == each(0)


def test_logits_that_are_no_numbers() -> None:
    model = Readout(4, lambda z: z * torch.where(z[:, :1] > 0.5, torch.nan, 1.0))
    inputs = showing([[0.9, 0.2, 0.1, 0], [0.4, 0.2, 0.1, 0], [0.3, 0.2, 0.1, 0.5]])
    found = report(model, inputs, torch.tensor([0, 0, 0]))
    assert of(found, "nonfinite") == each(1 / 3)
    assert of(found, "zero") == of(found, "tiny") == each(0)
    missing = "the logits of 1 of 3 images are not finite"
    assert found.notes == dict.fromkeys((*GAPS, *DOUBLE), missing)
    assert [found.values[name] for name in (*GAPS, *DOUBLE)] == [None] * 5


def test_finite_logits_with_an_infinite_gradient() -> None:
    """∂√z/∂z at 0."""
    inputs = showing([[0.9, 0.4, 0.1, 0.0], [0.9, 0.4, 0.1, 0.2]])
    found = report(Readout(4, lambda z: z.sqrt()), inputs, torch.tensor([0, 0]))
    assert of(found, "nonfinite") == each(0.5)
    assert found.notes == {}


def test_rounding_that_decides() -> None:
    """2²⁵ + x is 2²⁵ in float32 for x < 2, and the first of equal logits is predicted."""
    inputs = showing([[0.0, 0.5], [0.5, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = report(Readout(2, lambda z: z + 2**25), inputs, torch.zeros(4, dtype=torch.int64))
    assert found.values["float64_disagree"] == 0.5
    assert found.values["float64_difference"] == pytest.approx(1 / (2**25 + 1), rel=1e-12)
    assert found.n_forwards == 8


def test_a_difference_is_relative_to_the_image_s_own_logits() -> None:
    def rounded(z: Tensor) -> Tensor:
        return z if z.dtype == torch.float64 else torch.where(z.amax(1, keepdim=True) < 0.5, 1.5 * z, z)

    inputs = showing([[1.0, 0.5], [1e-6, 0.0], [0.0, 0.0]])
    found = report(Readout(2, rounded), inputs, torch.zeros(3, dtype=torch.int64))
    assert found.values["float64_difference"] == pytest.approx(1 / 3, rel=1e-6)
    assert found.values["float64_disagree"] == 0


def test_a_model_that_stays_in_float32() -> None:
    fixed = torch.rand(4, 4)
    found = report(Readout(4, lambda z: z @ fixed), torch.rand(20, 3, 8, 8), torch.arange(20) % 4)
    assert found.notes.keys() == set(DOUBLE)
    assert found.notes["float64_disagree"].startswith("the model does not run in float64: RuntimeError: ")
    assert "\n" not in found.notes["float64_disagree"]
    assert [found.values[name] for name in DOUBLE] == [None, None]
    cast = report(Readout(4, lambda z: z.float()), torch.rand(20, 3, 8, 8), torch.arange(20) % 4)
    assert cast.notes == dict.fromkeys(DOUBLE, "the model returns torch.float32 in float64")


def test_a_model_that_cannot_be_copied() -> None:
    class Single(Readout):
        def __deepcopy__(self, memo: dict[int, object]) -> Single:
            raise TypeError("there is only one")

    found = report(Single(4, lambda z: z), labels=torch.arange(20) % 4)
    assert found.notes["float64_disagree"] == "the model does not run in float64: TypeError: there is only one"
    assert (found.values["zero_gradient_ce"], found.n_forwards, found.n_backwards) == (0, 20, 60)


def test_memory_that_runs_out_in_float64_is_raised() -> None:
    def change(z: Tensor) -> Tensor:
        if z.dtype == torch.float64:
            raise torch.OutOfMemoryError("tried to allocate everything")
        return z

    with pytest.raises(torch.OutOfMemoryError):
        report(Readout(4, change), labels=torch.arange(20) % 4)


def test_model_and_images_stay_what_they_were() -> None:
    model, images = nn.Sequential(nn.Dropout(0.5), linear()).train(), some(20)
    before = images.pixels.clone()
    first, second = report(model, images.pixels), report(model, images.pixels)
    assert first == second
    assert torch.equal(images.pixels, before)
    assert not images.pixels.requires_grad
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_a_model_that_writes_into_its_images_does_not_reach_them() -> None:
    def change(z: Tensor) -> Tensor:
        z.data.add_(0.5)
        return z

    images = some(20)
    before = images.pixels.clone()
    report(Readout(4, change), images.pixels, torch.arange(20) % 4)
    assert torch.equal(images.pixels, before)


def test_batches_do_not_matter() -> None:
    images = some(20, dead=3)
    found = [
        gradient_report(DeadFor(), images.pixels, images.labels, batch_size=size).values for size in (1, 7, 20, 100)
    ]
    shares = [name for name in COLUMNS if name != "float64_difference"]
    assert all(other[name] == pytest.approx(found[0][name], rel=1e-5) for other in found for name in shares)


def test_without_images_there_is_no_number() -> None:
    found = report(linear(), some(0).pixels, some(0).labels)
    assert found == GradientReport(dict.fromkeys(COLUMNS), 0, 0, dict.fromkeys(COLUMNS, "no images were given"))


def test_a_residual_network() -> None:
    torch.manual_seed(0)
    model, inputs = timm.create_model("resnet10t", num_classes=10).eval(), torch.rand(20, 3, 28, 28)
    found = report(model, inputs, model(inputs).argmax(1))
    assert of(found, "zero") == of(found, "nonfinite") == each(0)
    assert found.values["float64_difference"] is not None
    assert found.values["float64_difference"] < 1e-4
    assert not math.isnan(sum(value for value in found.values.values() if value is not None))
    assert (found.n_forwards, found.n_backwards) == (40, 60)
