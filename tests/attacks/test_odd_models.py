"""Models nobody would build: the engine finds what there is to find, and never takes its own failure for robustness."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from nets import correct, trained
from torch import Tensor, nn

from bench.attacks.registry import ATTACKS, resolve
from bench.core.records import EvalRecord
from bench.core.specs import Backend, EvalSpec
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput
from bench.evaluation.evaluate import evaluate_cell
from bench.models.classifier import freeze
from bench.runtime.progress import Progress

OWN = "autoattack-apgd-ce+apgd-dlr+apgd-t+fab+fab-t+square-i5-s60"
BUILTIN = [resolve(name).name for name in ATTACKS if ATTACKS.origin(name) == "bench.attacks.builtin"]
SINGLE = [name for name in BUILTIN if not name.startswith("autoattack")]
NAMES = [*[name for name in SINGLE if resolve(name).params.get("version") is None], OWN]  # OWN has all the stages
NORMS = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
CASES = [(name, norm) for name in NAMES for norm in resolve(name).entry.norms if norm in NORMS]


def measured(
    name: str,
    norm: str,
    eps: float,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: int,
    backend: Backend = "native",
) -> EvalRecord:
    attack = resolve(name, backend)
    spec = EvalSpec(
        run_id="r",
        data_sha="d",
        attack=attack.spec(norm, eps, batch_size=128),  # type: ignore[arg-type]
        protocol="standard",
        limit=None,
        batch_size=128,
        seed=0,
    )
    context = CellInput(
        model=freeze(model),
        weights_sha="",
        images=ResidentImages([f"x/{i}" for i in range(len(inputs))], inputs, labels),
        n_test=len(inputs),
        official=False,
        num_classes=classes,
        device=torch.device("cpu"),
        entry=attack.entry,
    )
    return evaluate_cell(spec, context, Progress())[0]


def some_images(count: int = 6) -> Tensor:
    return torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def linear(classes: int) -> nn.Module:
    """Confident by far less than what a small step changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(108, classes))
    net[1].bias.data -= net(torch.full((1, 3, 6, 6), 0.5))[0].detach()
    return net


class Logits(nn.Module):
    """Two features of the image, through ``how`` another writes them down."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, inputs: Tensor) -> Tensor:
        level = inputs.flatten(1).mean(1)
        pair = torch.stack((level - 0.5, 0.5 - level, level * 0 - 9), 1)
        match self.how:
            case "constant":
                return torch.tensor([1.0, 0.0, 0.0]).expand(len(inputs), 3)
            case "constant with a graph":
                return torch.tensor([1.0, 0.0, 0.0]) + 0 * pair
            case "integers":
                return (100 * pair).round().to(torch.int64)
            case "rounded":
                return (100 * pair).round()
            case "detached":
                return pair.detach()
            case "numpy":
                return torch.from_numpy(pair.detach().numpy())
            case "no_grad":
                with torch.no_grad():
                    return 2 * pair
            case "one hot":
                return nn.functional.one_hot(pair.argmax(1), 3)
        raise ValueError(self.how)


@pytest.mark.parametrize(
    ("name", "norm", "classes"),
    [
        (name, norm, classes)
        for name, norm in CASES
        for classes in ((2, 3, 10, 100, 1000) if norm == resolve(name).entry.norms[0] else (2, 10))
    ],
)
def test_any_number_of_classes(name: str, norm: str, classes: int) -> None:
    if classes == 1000 and name == OWN:
        name = name.replace("+fab+", "+")  # which asks about every class
    model, inputs = linear(classes), some_images()
    record = measured(name, norm, 2 * NORMS[norm], model, inputs, model(inputs).argmax(1), classes)
    assert record.status == "ok", record.message
    assert record.n_attacked == 6
    assert record.n_correct == 0


def needs_gradients(name: str) -> bool:
    attack = resolve(name)
    return attack.entry.cost(attack.params, 3).backwards > 0


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_what_cannot_be_changed_is_robust(name: str, norm: str) -> None:
    labels = torch.zeros(6, dtype=torch.int64)
    record = measured(name, norm, NORMS[norm], Logits("constant with a graph"), some_images(), labels, 3)
    assert (record.status, record.n_attacked, record.n_correct) == ("ok", 6, 6), record.message
    assert record.flags == (("zero_gradient",) if needs_gradients(name) else ())


HIDING = ("constant", "integers", "one hot", "detached", "numpy", "no_grad")


@pytest.mark.parametrize(
    ("name", "norm", "how"),
    [
        *[(name, resolve(name).entry.norms[0], how) for name in NAMES for how in HIDING],
        *[(name, norm, "detached") for name, norm in CASES if norm != resolve(name).entry.norms[0]],
    ],
)
def test_an_absent_gradient_is_a_failure_and_never_robustness(name: str, norm: str, how: str) -> None:
    labels = Logits(how)(some_images()).argmax(1)
    record = measured(name, norm, NORMS[norm], Logits(how), some_images(), labels, 3)
    if needs_gradients(name):
        assert (record.status, record.reason, record.n_correct) == ("failed", "no_gradient", None)
        assert "gives no gradient" in record.message
    else:
        assert record.status == "ok"


@pytest.mark.parametrize("how", ["detached", "integers"])
@pytest.mark.parametrize("name", ["fgsm", "pgd-20", "apgd-ce"])
def test_an_absent_gradient_fails_other_libraries_too(name: str, how: str) -> None:
    record = measured(name, "linf", 0.1, Logits(how), some_images(), torch.zeros(6, dtype=torch.int64), 3, "reference")
    assert (record.status, record.reason) == ("failed", "no_gradient")


@pytest.mark.parametrize("how", ["integers", "rounded", "one hot"])
@pytest.mark.parametrize("norm", list(NORMS))
def test_without_gradients_the_search_that_needs_none_still_finds(norm: str, how: str) -> None:
    model, inputs = Logits(how), 0.5 + 0.02 * (some_images(8) - 0.4)
    labels = model(inputs).argmax(1)
    for name in ("square", OWN) if how == "rounded" else ("square",):
        record = measured(name, norm, 4 * NORMS[norm], model, inputs, labels, 3)
        assert (record.status, record.n_attacked, record.n_correct) == ("ok", 8, 0), record.message
        assert record.flags == (("zero_gradient",) if name == OWN else ())


class Brittle(nn.Module):
    """The first class for an image as it is, and no answer next to it."""

    def __init__(self, images: Tensor, value: float) -> None:
        super().__init__()
        self.images, self.value = images, value

    def forward(self, inputs: Tensor) -> Tensor:
        away = (inputs[:, None] - self.images[None]).detach().flatten(2).abs().amax(2).amin(1)
        level = inputs.flatten(1).mean(1)
        logits = torch.stack((2 - level, level, level * 0), 1)
        return torch.where((away > 1e-6)[:, None], self.value, logits)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_model_without_an_answer_nearby_is_not_robust(name: str, norm: str, value: float) -> None:
    """The class of NaN is 0 to argmax: the label here, which must not pass for an image that held."""
    inputs = some_images()
    record = measured(name, norm, NORMS[norm], Brittle(inputs, value), inputs, torch.zeros(6, dtype=torch.int64), 3)
    assert (record.status, record.n_correct) == ("failed", None)
    assert record.reason in ("nan_logits", "nan_input")


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_budget_beyond_the_box_breaks_all_and_stays_inside(name: str, norm: str) -> None:
    model = trained("strided")
    inputs, labels = correct(model, 12)
    record = measured(name, norm, {"linf": 1.0, "l2": 50.0, "l1": 500.0}[norm], deepcopy(model), inputs, labels, 10)
    assert (record.status, record.n_correct) == ("ok", 0), record.message


@pytest.mark.parametrize(
    ("name", "norm", "eps", "noise"),
    [
        ("pgd-20", "linf", 0.08, 4),
        ("pgd-20", "l1", 4.0, 4),
        ("pgd-margin-20", "l2", 0.7, 1),
        ("apgd-ce", "linf", 0.08, 5),
        pytest.param("apgd-ce", "l1", 4.0, 5, marks=pytest.mark.slow),
        pytest.param("autoattack-apgd-ce+apgd-t+fab-t+square-i10-s50", "l2", 0.7, 1, marks=pytest.mark.slow),
    ],
)
def test_logits_times_a_thousand_lose_as_much(name: str, norm: str, eps: float, noise: int) -> None:
    """Check log-odds where a cross-entropy in float32 has no gradient: their gradients are those of the margin.

    The two losses differ by a few images of the hundred, which the ensemble makes up for.
    """
    model = trained("pooled")
    inputs, labels = correct(model, 100)
    loud = nn.Sequential(deepcopy(model), Times(1000.0))
    plain = measured(name, norm, eps, deepcopy(model), inputs, labels, 10)
    scaled = measured(name, norm, eps, loud, inputs, labels, 10)
    assert plain.n_correct is not None
    assert scaled.n_correct is not None
    assert 30 < plain.n_correct < 90
    assert abs(scaled.n_correct - plain.n_correct) <= noise


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return self.factor * logits
