"""Test the attacks as plain functions: closed forms on a linear model, foolbox, targets, state, errors."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from helpers import LinearModel
from nets import correct, trained
from torch import Tensor, nn

from bench import attacks
from bench.attacks import (
    QueryBudget,
    apgd,
    autoattack,
    corrupt,
    ddn,
    deepfool,
    fab,
    fgsm,
    fmn,
    mim,
    pgd,
    square,
)
from bench.attacks.geometry.norms import length
from bench.core.errors import BenchError
from bench.core.specs import Norm

BOUNDED: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm, "pgd": pgd, "mim": mim, "apgd": apgd, "square": square, "autoattack": autoattack,
}  # fmt: skip
NEAREST: dict[str, Callable[..., Tensor]] = {"deepfool": deepfool, "ddn": ddn, "fmn": fmn, "fab": fab}
ALL = BOUNDED | NEAREST
NORMS: dict[str, tuple[Norm, ...]] = {
    name: ("l2",) if name in ("deepfool", "ddn") else ("linf", "l2", "l1") for name in ALL
}
SHORT: dict[str, dict[str, Any]] = {"autoattack": {"steps": 20, "queries": 50}, "square": {"queries": 400}}
SLACK = {("square", "linf"): 6.0, ("square", "l2"): 6.0, ("square", "l1"): 20.0, ("apgd", "l1"): 1.2}  # in margins
COUNT = 4


def linear() -> tuple[LinearModel, Tensor, Tensor]:
    """Two classes on images well inside the box, so that the nearest boundary is met before the walls."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3 * 6 * 6, generator=generator, dtype=torch.float64)
    noise = 0.1 * (2 * torch.rand(COUNT, len(weight), generator=generator, dtype=torch.float64) - 1)
    unit = weight / weight.norm()
    distance = torch.linspace(0.03, 0.1, COUNT, dtype=torch.float64) * torch.tensor([1.0, -1.0]).repeat(COUNT // 2)
    flat = 0.5 + noise - (noise @ unit)[:, None] * unit + distance[:, None] * unit
    model = LinearModel(weight, float(-0.5 * weight.sum())).eval().requires_grad_(False)
    inputs = flat.view(COUNT, 3, 6, 6)
    assert 0 < inputs.min() < inputs.max() < 1
    return model, inputs, model(inputs).argmax(1)


CASES = [(name, norm) for name in ALL for norm in NORMS[name]]


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[0] in BOUNDED])
def test_a_budget_succeeds_beyond_the_margin_and_fails_below(name: str, norm: Norm) -> None:
    """The distance to the boundary of a linear model is its margin over the dual norm of w."""
    model, inputs, labels = linear()
    margins = model.margin(inputs, norm)
    for share, wanted in ((0.98, False), (SLACK.get((name, norm), 1.05), True)):
        for image, label, margin in zip(inputs, labels, margins, strict=True):
            eps = share * float(margin)
            found = BOUNDED[name](model, image[None], label[None], norm=norm, eps=eps, **SHORT.get(name, {}))
            assert bool(model(found).argmax(1) != label) == wanted
            assert float(length(found - image[None], norm)) <= eps * (1 + 1e-9)
            assert found.min() >= 0
            assert found.max() <= 1


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[0] in NEAREST])
def test_the_nearest_image_is_at_the_margin(name: str, norm: Norm) -> None:
    model, inputs, labels = linear()
    found = NEAREST[name](model, inputs, labels, norm=norm)
    assert (model(found).argmax(1) != labels).all()
    ratio = length(found - inputs, norm) / model.margin(inputs, norm)
    assert ratio.min() >= 1 - 1e-9, "nothing is nearer than the boundary"
    assert ratio.max() < 1.12


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[0] in NEAREST])
def test_the_nearest_image_is_returned_within_eps_only(name: str, norm: Norm) -> None:
    model, inputs, labels = linear()
    eps = float(model.margin(inputs, norm).median())
    found = NEAREST[name](model, inputs, labels, norm=norm, eps=eps)
    near = model.margin(inputs, norm) * 1.12 < eps
    assert (length(found - inputs, norm) <= eps * (1 + 1e-9)).all()
    assert (model(found).argmax(1) != labels)[near].all()
    assert torch.equal(found[model.margin(inputs, norm) > eps], inputs[model.margin(inputs, norm) > eps])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fgsm, foolbox.attacks.LinfFastGradientAttack(random_start=False)),
        (pgd, foolbox.attacks.LinfPGD(rel_stepsize=2.5 / 20, steps=20)),
    ],
)
def test_no_more_images_survive_than_with_foolbox(ours: Callable[..., Tensor], theirs: Any) -> None:
    model = trained("strided")
    inputs, labels = correct(model, 100)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1))
    for eps in (0.05, 0.1):
        other = theirs.run(bounded, inputs, foolbox.criteria.Misclassification(labels), epsilon=eps)
        mine = (model(ours(model, inputs, labels, eps=eps)).argmax(1) == labels).sum()
        assert int(mine) <= int((model(other).argmax(1) == labels).sum()) + 5


TARGETED = [name for name in ALL if name not in ("autoattack", "deepfool")]


@pytest.mark.parametrize("name", TARGETED)
def test_the_targeted_form_reaches_the_target(name: str) -> None:
    """Each image becomes the target class, and not merely another class than its label."""
    model = trained("strided")
    inputs, labels = correct(model, 20)
    targets = (labels + 3) % 10
    norm = NORMS[name][0]
    options = {"eps": {"linf": 0.5, "l2": 5.0}[norm]} if name in BOUNDED else {}
    found = ALL[name](model, inputs, labels, norm=norm, targets=targets, **options)
    predicted = model(found).argmax(1)
    moved = (found != inputs).flatten(1).any(1)
    least = 5 if name == "fgsm" else 18
    assert int((predicted == targets).sum()) >= least
    if name in NEAREST:
        assert torch.equal(predicted[moved], targets[moved])
        freely = ALL[name](model, inputs, labels, norm=norm)
        assert length(found - inputs, norm)[moved].mean() > length(freely - inputs, norm)[moved].mean()


def test_apgd_on_ratios_reaches_the_target_in_l1_too() -> None:
    model = trained("strided")
    inputs, labels = correct(model, 8)
    targets = (labels + 1) % 10
    found = apgd(model, inputs, labels, norm="l1", eps=25.0, objective="dlr", targets=targets)
    assert int((model(found).argmax(1) == targets).sum()) >= 7


class Recorder(nn.Module):
    """A trained net with dropout and batch norm, which notes the modes that it is called in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(216, 4)
        )
        self.modes: set[bool] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        self.modes.add(self.training or self.layers[3].training)
        logits: Tensor = self.layers(inputs)
        return logits


@pytest.mark.parametrize("name", ALL)
def test_the_state_of_model_and_tensors_is_kept(name: str) -> None:
    """Evaluation mode inside and each module's own mode afterwards, no gradients, under no_grad and inference mode."""
    model = Recorder()
    model.layers[1].eval()
    inputs = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    labels, before, generator = torch.tensor([0, 1, 2]), inputs.detach().clone(), torch.get_rng_state()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    options = {"norm": NORMS[name][0], **SHORT.get(name, {})}
    found = ALL[name](model, inputs, labels, **options)
    assert model.modes == {False}
    assert model.training
    assert [module.training for module in model.layers] == [True, False, True, True, True, True]
    assert inputs.requires_grad
    assert inputs.grad is None
    assert torch.equal(inputs.detach(), before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert not found.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(ALL[name](model, inputs.clone(), labels, **options), found)


@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "ddn", "fab"])
def test_the_result_belongs_to_the_image(name: str) -> None:
    """Batch size and order change nothing; another seed or id does where there is chance."""
    model = deepcopy(trained("strided")).double()
    inputs, labels = correct(trained("strided"), 7)
    inputs = inputs.double()
    ids, order = [f"image {i}" for i in range(7)], torch.tensor([4, 2, 6, 0, 5, 1, 3])
    short = {"queries": 100} if name == "square" else {"steps": 20}
    options = {"norm": NORMS[name][0], **({"eps": 0.15} if name in BOUNDED else {}), **short}
    whole = ALL[name](model, inputs, labels, ids=ids, rng=5, **options)
    parts = ALL[name](
        model, inputs[order], labels[order], ids=[ids[i] for i in order.tolist()], rng=5, batch_size=3, **options
    )
    assert torch.allclose(parts, whole[order], rtol=0, atol=1e-9)
    if name in ("pgd", "square"):
        other = ALL[name](model, inputs, labels, ids=ids, rng=6, **options)
        assert not torch.allclose(other, whole)


def test_ids_are_positions_by_default() -> None:
    model = trained("strided")
    inputs, labels = correct(model, 4)
    found = pgd(model, inputs, labels, eps=0.15)
    assert torch.equal(found, pgd(model, inputs, labels, eps=0.15, ids=range(4)))
    assert not torch.equal(found, pgd(model, inputs, labels, eps=0.15, ids=range(4, 8)))


def test_a_query_budget_bounds_and_reports() -> None:
    model = trained("hardened")
    inputs, labels = correct(model, 12)
    budget = QueryBudget(5)
    found = pgd(model, inputs, labels, eps=0.06, query_budget=budget)
    assert budget.truncated is not None
    assert torch.equal(budget.truncated, model(found).argmax(1) == labels)
    assert int(budget.truncated.sum()) > 0


@pytest.mark.parametrize("name", ALL)
def test_no_image_gives_no_image(name: str) -> None:
    model = trained("strided")
    assert ALL[name](model, torch.empty(0, 3, 8, 8), torch.empty(0, dtype=torch.int64), norm=NORMS[name][0]).shape == (
        0, 3, 8, 8,
    )  # fmt: skip


GOOD = (torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (GOOD[0][0], GOOD[1], {}, r"needs images \(N, C, H, W\).*\(3, 8, 8\)"),
        (GOOD[0].half(), GOOD[1], {}, "not float16"),
        (2 * GOOD[0] + 1, GOOD[1], {}, r"needs images in \[0, 1\]; these range from 2 to 2"),
        (GOOD[0] * float("nan"), GOOD[1], {}, r"needs images in \[0, 1\]"),
        (GOOD[0], GOOD[1][:1], {}, r"needs labels.*shape \(2,\)"),
        (GOOD[0], GOOD[1].float(), {}, "needs labels of whole numbers"),
        (GOOD[0], GOOD[1] - 1, {}, "label -1 is negative"),
        (GOOD[0], GOOD[1], {"norm": "l3"}, "does not support the norm 'l3'; it supports .*l2"),
        (GOOD[0], GOOD[1], {"eps": 0.0}, "must be a finite number > 0"),
        (GOOD[0], GOOD[1], {"eps": -0.1}, "must be a finite number > 0"),
        (GOOD[0], GOOD[1], {"ids": ["a"]}, "1 sample ids for 2 images"),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_what_does_not_fit_is_one_sentence(
    name: str, inputs: Tensor, labels: Tensor, options: dict[str, Any], message: str
) -> None:
    options = {"norm": NORMS[name][0], **options}
    with pytest.raises(BenchError, match=message):
        ALL[name](trained("strided"), inputs, labels, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: pgd(m, *GOOD, eps=8), "eps 8 is > 1.*did you mean 8/255"),
        (lambda m: pgd(m, *GOOD, steps=0), "pgd: steps is 0"),
        (lambda m: pgd(m, *GOOD, restarts=1.5), "pgd: restarts is 1.5"),  # type: ignore[arg-type]
        (lambda m: pgd(m, *GOOD, objective="mse"), "pgd has no objective 'mse'"),  # type: ignore[arg-type]
        (lambda m: pgd(m, *GOOD, targets=GOOD[1]), "a target class equals the label"),
        (lambda m: pgd(m, *GOOD, targets=GOOD[1][:1]), "needs targets"),
        (lambda m: pgd(m, *GOOD, rng=attacks.SampleRng(0, "pgd", "ab"), ids="ab"), "give only one of them"),
        (lambda m: apgd(m, *GOOD, objective="mse"), "apgd has no objective 'mse'"),  # type: ignore[arg-type]
        (lambda m: autoattack(m, *GOOD, version="fast"), "autoattack has no version 'fast'.*o stage is called 'fast'"),
        (lambda m: fab(m, *GOOD, restarts=2), "restarts=2 needs eps"),
        (lambda m: deepfool(m, *GOOD, candidates=1), "candidates is 1"),
        (lambda m: deepfool(m, *GOOD, norm="linf"), "does not support the norm 'linf'; it supports l2"),
        (lambda m: ddn(m, *GOOD, query_budget=QueryBudget(9)), "a query budget needs eps"),
        (lambda m: QueryBudget(0), "a query budget of 0"),
        (lambda m: square(m, GOOD[0][:, :, :4], GOOD[1], norm="l2"), "five rows"),
    ],
)
def test_what_one_attack_does_not_take(call: Callable[[nn.Module], object], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        call(trained("strided"))


def test_the_namespace_gives_functions_whatever_was_imported_first() -> None:
    """No module of the package has the name of a function."""
    for name in attacks.__all__:
        assert getattr(attacks, name) is not None
    for name in ALL:
        assert callable(getattr(attacks, name))
    with pytest.raises(AttributeError):
        _ = attacks.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*ALL, "corrupt"])
def test_the_example_of_the_docstring(name: str) -> None:
    function = getattr(attacks, name)
    module = importlib.import_module(function.__module__)
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(function, name, globs=vars(module)):
        runner.run(test)
    assert runner.summarize().failed == 0
    assert name == "mim" or runner.tries


def test_corrupt_takes_arrays_and_tensors() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    array = corrupt(pixels, "gaussian_noise", severity=3)
    assert array.shape == pixels.shape
    assert array.dtype == np.uint8
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert np.array_equal(corrupt(tensor, "gaussian_noise", severity=3).permute(0, 2, 3, 1).numpy(), array)
    floats = corrupt(tensor / 255, "gaussian_noise", severity=3)
    assert floats.dtype == torch.float32
    assert np.array_equal((floats * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8), array)
    assert not np.array_equal(corrupt(pixels, "gaussian_noise", severity=3, ids=["a", "b"]), array)
    assert not np.array_equal(corrupt(pixels, "gaussian_noise", severity=3, seed=1), array)
    with pytest.raises(BenchError, match="range from"):
        corrupt(tensor.float(), "gaussian_noise")
    with pytest.raises(BenchError, match="unknown corruption 'gausian_noise'; did you mean"):
        corrupt(pixels, "gausian_noise")
