"""DeepFool against models whose boundary is known, against foolbox, and on its promises about cost and batches."""

from __future__ import annotations

import foolbox
import pytest
import torch
from helpers import LinearModel
from torch import Tensor, nn

from bench.attacks.deepfool_attack import walk_to_boundary
from bench.evaluation.pass_counter import CountingModel

SIDE = 6
PIXELS = 3 * SIDE * SIDE


def images(count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Around grey, so that the box is far away."""
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=generator).double()).to(dtype)


def linear(classes: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A random linear model whose boundaries pass close to grey."""
    generator = torch.Generator().manual_seed(classes)
    layer = nn.Linear(PIXELS, classes).double()
    layer.weight.data = torch.randn(classes, PIXELS, generator=generator).double()
    layer.bias.data = -0.5 * layer.weight.data.sum(1)
    return nn.Sequential(nn.Flatten(), layer).to(dtype)


def exact_distance(model: nn.Module, inputs: Tensor) -> Tensor:
    """min_k |f_k|/‖w_k‖ over all classes other than the predicted one, (N,)."""
    layer = model[1]
    logits = model(inputs).detach()
    distances = []
    for row in logits:
        own = int(row.argmax())
        others = [k for k in range(len(row)) if k != own]
        planes = [(row[own] - row[k]) / (layer.weight[own] - layer.weight[k]).norm() for k in others]
        distances.append(torch.stack(planes).min())
    return torch.stack(distances).detach()


def length(delta: Tensor) -> Tensor:
    return delta.double().flatten(1).norm(dim=1)


class Curved(nn.Module):
    """Two classes of logits ±(s + s³), s = 8·w·(x − 0.5) − 1: images need different numbers of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(PIXELS, generator=torch.Generator().manual_seed(1)).double())

    def forward(self, inputs: Tensor) -> Tensor:
        s = 8 * ((inputs - 0.5).flatten(1) @ self.weight) - 1
        return torch.stack([s + s**3, -s - s**3], dim=1)


class Flat(nn.Module):
    """Logits that depend on the image, with a gradient of zero."""

    def forward(self, inputs: Tensor) -> Tensor:
        level = (10 * inputs.flatten(1).mean(1)).round()
        return torch.stack([level, -level, 0 * level], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_linear_model_is_left_at_the_exact_distance_times_the_overshoot(classes: int, dtype: torch.dtype) -> None:
    model, inputs = linear(classes, dtype), images(12, dtype)
    found = walk_to_boundary(model, inputs)
    exact = exact_distance(model.double(), inputs.double())
    rtol = 1e-9 if dtype == torch.float64 else 1e-3
    assert torch.allclose(length(found.adversarial.double() - inputs.double()), 1.02 * exact.double(), rtol=rtol)
    assert found.adversarial.dtype == dtype
    assert (found.iterations == 1).all()
    wide = (model(found.adversarial.double()).argmax(1), model(inputs.double()).argmax(1))
    assert (wide[0] != wide[1]).all()


def test_the_nearest_plane_counts_and_not_the_second_highest_logit() -> None:
    """Class 1 is second for every image, class 2 is nearer: its plane is steeper."""
    weight = torch.zeros(3, PIXELS).double()
    weight[1, 0], weight[2, 1] = 0.1, 10
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 3).double())
    model[1].weight.data, model[1].bias.data = weight, torch.tensor([0.0, -0.1, -6.0]).double()
    inputs = torch.full((2, 3, SIDE, SIDE), 0.5).double()
    delta = walk_to_boundary(model, inputs).adversarial - inputs
    assert length(delta).tolist() == pytest.approx([1.02 * 0.1] * 2)
    only_two = walk_to_boundary(model, inputs, candidates=2, box=None).adversarial - inputs
    assert length(only_two).tolist() == pytest.approx([1.02 * 0.5] * 2)


def test_extra_lengthens_the_step_itself() -> None:
    model, inputs = linear(4), images(5)
    delta = walk_to_boundary(model, inputs, extra=0.01).adversarial - inputs
    assert torch.allclose(length(delta), 1.02 * (exact_distance(model, inputs) + 0.01))


def test_the_walk_goes_on_where_the_box_has_cut_it_off() -> None:
    """Half the pixels lie at the wall that the step goes through, so that one step makes half the way."""
    weight = torch.ones(PIXELS).double()
    inputs = torch.zeros(1, PIXELS).double()
    inputs[:, ::2] = 1.0
    inputs = inputs.view(1, 3, SIDE, SIDE)
    model = LinearModel(weight, bias=-(PIXELS / 2 + 5.0))
    found = walk_to_boundary(model, inputs, extra=1e-4)
    assert model(found.adversarial).argmax(1).item() == 1
    assert found.iterations.item() > 1
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    free = walk_to_boundary(model, inputs, box=None).adversarial
    assert free.max() > 1
    assert length(free - inputs).item() == pytest.approx(1.02 * model.margin(inputs, "l2").item())


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor]:
    """A small convolutional network, and images it knows: five classes of four clusters, so that boundaries bend."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.rand(20, 3, 8, 8, generator=generator)
    clusters = torch.arange(300) % 20
    labels = clusters % 5
    pixels = (centres[clusters] * 0.6 + 0.2 + 0.25 * torch.randn(300, 3, 8, 8, generator=generator)).clamp(0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 16, 3, stride=2), nn.SiLU(), nn.Flatten(),
            nn.Linear(144, 32), nn.SiLU(), nn.Linear(32, 5),
        )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels), labels)
        loss.backward()
        optimiser.step()
    return model.eval(), pixels[:60]


def test_foolbox_finds_perturbations_of_the_same_size(trained: tuple[nn.Module, Tensor]) -> None:
    model, inputs = trained
    labels = model(inputs).argmax(1)
    oracle = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=10, overshoot=0.02)
    theirs = oracle.run(foolbox.PyTorchModel(model, bounds=(0, 1)), inputs, foolbox.criteria.Misclassification(labels))
    expected = length(theirs - inputs)
    plain = walk_to_boundary(model, inputs).adversarial
    assert length(plain - inputs).median().item() == pytest.approx(expected.median().item(), rel=0.02)
    found = walk_to_boundary(model, inputs, extra=1e-4)  # which foolbox always adds
    assert torch.allclose(length(found.adversarial - inputs), expected, rtol=1e-3)
    assert (model(found.adversarial).argmax(1) != labels).all()
    assert found.iterations.double().mean() > 1.5, "one step is enough, the test shows nothing of the walk"
    assert found.adversarial.min() == 0, "the box is not met, the test shows nothing of it"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_without_a_gradient_stays_where_it_is(dtype: torch.dtype) -> None:
    inputs = images(4, dtype)
    counting = CountingModel(Flat())
    found = walk_to_boundary(counting, inputs, extra=1e-4)
    assert torch.equal(found.adversarial, inputs)
    assert found.iterations.tolist() == [0] * 4
    assert counting.forwards == 2 * 4, "an image that cannot move was linearised again"


def test_a_gradient_whose_square_underflows_is_still_followed() -> None:
    inputs = images(6, torch.float32)
    model = linear(3, torch.float32)
    tiny = linear(3, torch.float32)
    tiny[1].weight.data *= 2.0**-80
    tiny[1].bias.data *= 2.0**-80
    found, expected = walk_to_boundary(tiny, inputs), walk_to_boundary(model, inputs)
    assert torch.allclose(found.adversarial, expected.adversarial, atol=1e-6)


class Cliff(nn.Module):
    """No logits beyond a mean of 0.6, where class 1 would begin at 0.7; finite gradients on this side."""

    def forward(self, inputs: Tensor) -> Tensor:
        s = inputs.flatten(1).mean(1)
        f = (s - 0.7).masked_fill(s > 0.6, torch.nan)
        return torch.stack([-f, f], dim=1)


def test_a_step_into_nan_is_not_taken() -> None:
    """The image that would step there is neither called fooled nor made NaN."""
    inputs = images(3)
    found = walk_to_boundary(Cliff(), inputs, box=None)
    assert torch.equal(found.adversarial, inputs)
    assert found.iterations.tolist() == [0] * 3


class Doubled(nn.Module):
    """Every class of ``model`` twice: a gap of 0 with a gradient of 0, whose distance is 0/0."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.model(inputs)
        return torch.cat([logits, logits], dim=1)


def test_a_class_that_never_differs_is_passed_over() -> None:
    model, inputs = linear(3), images(5)
    found = walk_to_boundary(Doubled(model), inputs)
    assert torch.allclose(length(found.adversarial - inputs), 1.02 * exact_distance(model, inputs))
    only_that = walk_to_boundary(Doubled(model), inputs, candidates=2)
    assert torch.equal(only_that.adversarial, inputs)


def test_an_image_that_is_fooled_gets_no_more_passes() -> None:
    counting = CountingModel(Curved().double())
    inputs = images(40)
    found = walk_to_boundary(counting, inputs)
    assert len(found.iterations.unique()) > 2, "the images do not differ, the test shows nothing"
    walked = int(found.iterations.sum())
    assert counting.forwards == len(inputs) + 2 * walked
    assert counting.backwards == walked


def test_every_further_candidate_costs_one_backward_pass() -> None:
    counting, inputs = CountingModel(linear(7)), images(5)
    walk_to_boundary(counting, inputs, candidates=4)
    assert (counting.forwards, counting.backwards) == (15, 15)


def test_steps_are_the_most_that_are_made() -> None:
    inputs = images(40)
    everything = walk_to_boundary(Curved(), inputs).iterations
    assert everything.max() > 3
    assert torch.equal(walk_to_boundary(Curved(), inputs, steps=3).iterations, everything.clamp_max(3))


def test_an_image_is_treated_alike_in_every_batch(trained: tuple[nn.Module, Tensor]) -> None:
    model, inputs = trained[0].double(), trained[1].double()
    try:
        together = walk_to_boundary(model, inputs[:20], extra=1e-4)
        alone = [walk_to_boundary(model, image.unsqueeze(0), extra=1e-4) for image in inputs[:20]]
        backwards = walk_to_boundary(model, inputs[:20].flip(0), extra=1e-4)
    finally:
        model.float()
    assert torch.allclose(together.adversarial, torch.cat([one.adversarial for one in alone]), atol=1e-12)
    assert torch.equal(together.iterations, torch.cat([one.iterations for one in alone]))
    assert torch.allclose(together.adversarial, backwards.adversarial.flip(0), atol=1e-12)


def test_inputs_and_parameters_are_left_alone() -> None:
    model, inputs = linear(3), images(4)
    before = inputs.clone()
    walk_to_boundary(model, inputs)
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_images_are_no_trouble() -> None:
    found = walk_to_boundary(linear(3), images(0))
    assert found.adversarial.shape == (0, 3, SIDE, SIDE)
    assert found.iterations.shape == (0,)


def test_what_cannot_be_walked_is_refused() -> None:
    with pytest.raises(ValueError, match="candidates=1 of 3 classes"):
        walk_to_boundary(linear(3), images(2), candidates=1)
    with pytest.raises(ValueError, match="1 classes"):
        walk_to_boundary(nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 1).double()), images(2))
    with pytest.raises(ValueError, match="int64"):
        walk_to_boundary(linear(3), torch.zeros(2, 3, SIDE, SIDE, dtype=torch.int64))
