"""What a plug-in's attack or a model may return: the same numbers as a plain tensor, or a failed cell with a reason."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.registry import ATTACKS, AttackEntry, Cost, resolve
from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.evaluate import evaluate_cell
from bench.models.classifier import freeze
from bench.runtime.progress import Progress

N, CLASSES, EPS = 12, 3, 0.1


def linear() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))
    net[1].bias.data -= net(torch.full((1, 3, 6, 6), 0.5))[0].detach()
    return net


def images() -> Tensor:
    return torch.rand(N, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, inputs: Tensor, eps: float) -> Tensor:
    """A fixed perturbation of half of the images, which fools some of them and leaves the others."""
    pattern = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(2)).sign()
    pattern[::2] = 0
    return (inputs + eps * pattern).clamp(0, 1)


def with_attribute(images: Tensor) -> Tensor:
    class Liar(Tensor):
        """Says of itself what would pass every check."""

        def to(self, *arguments: Any, **options: Any) -> Any:
            return torch.full(self.shape, 0.5)

    return images.as_subclass(Liar)


Change = Callable[[Tensor, Tensor], Any]  # images of the attack and its inputs -> what it returns

#: Harmless: the same numbers as the plain tensor.
HARMLESS: dict[str, Change] = {
    "a view": lambda images, inputs: images[:],
    "its input, changed in place": lambda images, inputs: inputs.copy_(images),
    "a view of its input": lambda images, inputs: inputs.copy_(images).view(len(inputs), -1).view(inputs.shape),
    "not contiguous": lambda images, inputs: images.flip(3).contiguous().flip(3),
    "channels last": lambda images, inputs: images.to(memory_format=torch.channels_last),
    "with a graph": lambda images, inputs: images.clone().requires_grad_() * 1,
    "a parameter": lambda images, inputs: nn.Parameter(images),
    "float64": lambda images, inputs: images.double(),
    "a subclass": lambda images, inputs: with_attribute(images),
}
#: Failed cells: the reason and a part of the message.
FAILED: dict[str, tuple[Change, str, str]] = {
    "None": (lambda images, inputs: None, "wrong_type", "returned NoneType, not a tensor"),
    "a tuple": (lambda images, inputs: (images,), "wrong_type", "returned tuple"),
    "an array": (lambda images, inputs: images.numpy(), "wrong_type", "returned ndarray"),
    "bytes": (lambda images, inputs: (images * 255).round().to(torch.uint8), "wrong_type", "returned torch.uint8"),
    "black bytes": (lambda images, inputs: torch.zeros_like(images, dtype=torch.uint8), "wrong_type", "torch.uint8"),
    "bools": (lambda images, inputs: images > 0.5, "wrong_type", "torch.bool"),
    "complex": (lambda images, inputs: images + 0j, "wrong_type", "torch.complex64"),
    "meta": (lambda images, inputs: images.to("meta"), "wrong_type", "images on meta, not on cpu"),
    "sparse": (lambda images, inputs: images.to_sparse(), "wrong_type", "sparse"),
    "fewer images": (lambda images, inputs: images[:-1], "wrong_shape", "returned (5, 3, 6, 6)"),
    "one image": (lambda images, inputs: images[:1], "wrong_shape", "returned (1, 3, 6, 6)"),
    "a number": (lambda images, inputs: images.mean(), "wrong_shape", "returned ()"),
    "flat": (lambda images, inputs: images.flatten(1), "wrong_shape", "returned"),
    "NaN": (lambda images, inputs: images.index_fill(0, torch.tensor([1]), torch.nan), "nan_input", "NaN"),
    "inf": (lambda images, inputs: images / 0, "nan_input", "NaN or infinite"),
    "1e30": (lambda images, inputs: images * 1e30, "budget_violation", "outside [0, 1]"),
    "float16 outside": (lambda images, inputs: (images + 0.01).clamp(0, 1).half(), "budget_violation", "beyond eps"),
    "sys.exit": (lambda images, inputs: sys.exit(0), "attack_error", "called sys.exit(0)"),
    "recursion": (lambda images, inputs: FAILED["recursion"][0](images, inputs), "attack_error", "RecursionError"),
}


@pytest.fixture
def attack() -> Iterator[Callable[[Change], None]]:
    def register(change: Change) -> None:
        def function(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: str, eps: float, rng: object) -> Any:
            return change(step(model, inputs, eps), inputs)

        entry = AttackEntry(
            summary="s",
            source="s",
            function=function,
            uses_gradient=False,
            cost=lambda params, classes: Cost(0, 0, 0, 0),
        )
        ATTACKS.register("odd", entry, origin="tests")

    yield register
    if "odd" in ATTACKS:
        ATTACKS.remove("odd")


def cell(model: nn.Module, labels: Tensor, name: str | None) -> tuple[EvalRecord, Outcomes | None]:
    resolved = None if name is None else resolve(name)
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=None if resolved is None else resolved.spec("linf", EPS, batch_size=6),
        protocol="standard", limit=None, batch_size=6, seed=0,
    )  # fmt: skip
    some = ResidentImages([f"x/{i}" for i in range(N)], images(), labels)
    cell_input = CellInput(
        model=freeze(model), weights_sha="", images=some, n_test=N,
        official=False, num_classes=CLASSES, device=torch.device("cpu"), entry=resolved and resolved.entry,
    )  # fmt: skip
    return evaluate_cell(spec, cell_input, Progress())


def labels_of(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(images()).argmax(1)


def test_a_harmless_result_counts_as_the_plain_tensor(attack: Callable[[Change], None]) -> None:
    found = {}
    for name, change in {"plain": lambda images, inputs: images, **HARMLESS}.items():
        attack(change)
        record, outcomes = cell(linear(), labels_of(linear()), "odd")
        ATTACKS.remove("odd")
        assert (record.status, record.message) == ("ok", ""), name
        assert outcomes is not None
        found[name] = (record.n_correct, outcomes.adv_pred.tolist(), outcomes.distance.nan_to_num(-1).tolist())
    assert 0 < found["plain"][0] < N
    assert {name for name, numbers in found.items() if numbers != found["plain"]} == set()


@pytest.mark.parametrize("name", FAILED)
def test_an_odd_result_is_a_failed_cell(name: str, attack: Callable[[Change], None]) -> None:
    change, reason, message = FAILED[name]
    attack(change)
    model = linear()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    record, outcomes = cell(model, labels_of(linear()), "odd")
    assert (record.status, record.reason, record.n_correct, outcomes) == ("failed", reason, None, None)
    assert message in record.message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("mask", [None, torch.zeros(6), torch.zeros(5, dtype=torch.bool), [True] * 6])
def test_an_odd_mask_of_stopped_searches_is_a_failed_cell(mask: Any) -> None:
    def function(
        model: nn.Module, inputs: Tensor, labels: Tensor, *, query_budget: Any = None, **others: Any
    ) -> Tensor:
        query_budget.truncated = mask
        return inputs

    entry = AttackEntry(summary="s", source="s", function=function, uses_gradient=False, bounded=True)
    ATTACKS.register("odd", entry, origin="tests")
    try:
        spec = resolve("odd").spec("linf", EPS, batch_size=6, max_queries=2)
        from bench.attacks.adapter import call_attack
        from bench.attacks.engine.counter_rng import SampleRng
        from bench.core.errors import CellFailure

        with pytest.raises(CellFailure, match="max_queries stopped") as caught:
            call_attack(
                entry, linear(), images()[:6], torch.zeros(6).long(), spec=spec, rng=SampleRng(0, "odd", ["a"] * 6)
            )
        assert caught.value.reason == "attack_error"
    finally:
        ATTACKS.remove("odd")


class Odd(nn.Module):
    """The linear model, whose logits or inputs ``change`` changes."""

    def __init__(self, change: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.change, self.calls = linear(), change, 0

    def forward(self, inputs: Tensor) -> Any:
        self.calls += 1
        return self.change(self.net(inputs), inputs)


MODELS: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "NaN": (lambda logits, inputs: logits * torch.nan, "nan_logits"),
    "inf": (lambda logits, inputs: logits / 0, "nan_logits"),
    "-inf": (lambda logits, inputs: logits.index_fill(1, torch.tensor([2]), -torch.inf), "nan_logits"),
    "one class more": (lambda logits, inputs: torch.cat((logits, logits[:, :1]), 1), "wrong_shape"),
    "one image": (lambda logits, inputs: logits[:1], "wrong_shape"),
    "a tuple": (lambda logits, inputs: (logits, logits), "wrong_shape"),
    "None": (lambda logits, inputs: None, "wrong_shape"),
    "meta": (lambda logits, inputs: logits.to("meta"), "model_error"),
    "complex": (lambda logits, inputs: logits + 0j, "model_error"),
    "sys.exit": (lambda logits, inputs: sys.exit(0), "model_error"),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_odd_model_is_a_failed_cell(name: str) -> None:
    change, reason = MODELS[name]
    record, outcomes = cell(Odd(change), labels_of(linear()), "fgsm")
    assert (record.status, record.reason, record.n_correct, outcomes) == ("failed", reason, None, None)


def test_a_model_that_changes_between_calls_is_flagged() -> None:
    torch.manual_seed(0)
    record, _ = cell(Odd(lambda logits, inputs: logits + torch.randn_like(logits)), labels_of(linear()), "fgsm")
    assert record.flags[0] == "randomised"


def test_a_model_whose_logits_become_nan_under_attack_fails() -> None:
    """Only clean images have logits: nothing is counted as robust."""
    known = {tuple(image.flatten().tolist()) for image in images()}

    def only_clean(logits: Tensor, inputs: Tensor) -> Tensor:
        unknown = torch.tensor([tuple(image.flatten().tolist()) not in known for image in inputs.detach()])
        return logits.masked_fill(unknown[:, None], torch.nan)

    record, _ = cell(Odd(only_clean), labels_of(linear()), "fgsm")
    assert (record.status, record.n_correct) == ("failed", None)
    assert record.reason in ("nan_logits", "nan_gradient")


@pytest.fixture
def asks() -> Iterator[None]:
    """Register an attack that queries the model at the images that it returns."""

    def function(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: str, eps: float, rng: object) -> Tensor:
        images = step(model, inputs, eps)
        model(images)
        return images

    ATTACKS.register(
        "asks", AttackEntry(summary="s", source="s", function=function, uses_gradient=False), origin="tests"
    )
    yield
    ATTACKS.remove("asks")


@pytest.mark.usefixtures("asks")
@pytest.mark.parametrize("name", ["fgsm", "pgd-5", "square", "asks"])
def test_a_model_that_writes_into_its_input_has_the_numbers_of_one_that_does_not(name: str) -> None:
    def in_place(logits: Tensor, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            inputs.zero_()
        return logits

    def plain(logits: Tensor, inputs: Tensor) -> Tensor:
        return logits

    found, expected = (cell(Odd(change), labels_of(linear()), name) for change in (in_place, plain))
    assert found[0].status == expected[0].status == "ok", found[0].message
    assert found[0].n_correct == expected[0].n_correct
    assert found[1] is not None
    assert expected[1] is not None
    assert torch.equal(found[1].distance.nan_to_num(-1), expected[1].distance.nan_to_num(-1))


@pytest.mark.parametrize("name", [None, "fgsm"])
def test_every_warning_is_in_the_notes_of_its_row(name: str | None) -> None:
    def warns(logits: Tensor, inputs: Tensor) -> Tensor:
        warnings.warn("\x1b[31mthe model is odd\n", RuntimeWarning, stacklevel=1)
        return logits

    record, _ = cell(Odd(warns), labels_of(linear()), name)
    assert record.status == "ok"
    assert [note for note in record.notes if "odd" in note] == ["RuntimeWarning:  [31mthe model is odd"]


def test_a_model_that_warns_differently_at_every_call_does_not_fill_the_row() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = linear(), 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.calls += 1
            for i in range(10):
                warnings.warn(f"call {self.calls}, {i} {'x' * 10**5}", UserWarning, stacklevel=1)
            logits: Tensor = self.net(inputs)
            return logits

    record, _ = cell(Counting(), labels_of(linear()), "pgd-5")
    assert record.status == "ok"
    assert len(record.notes) < 30
    assert max(map(len, record.notes)) <= 2000
    assert any(note.endswith("more warnings or notes") for note in record.notes)


def test_logits_of_1e30_are_attacked_as_those_of_1() -> None:
    large, plain = (
        cell(Odd(lambda logits, _, s=scale: s * logits), labels_of(linear()), "square") for scale in (1e30, 1)
    )
    assert (large[0].status, large[0].n_correct) == ("ok", plain[0].n_correct)
