"""A model that is no function from one image to its logits is found out, by the right check; an ordinary one is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import timm
import torch
from oddities import Changed, Noisy, images, linear, some
from torch import Tensor, nn

from bench.attacks.gradients import take_logits
from bench.audit.gradients import float64_logits, gradient_report
from bench.core.records import Finding
from bench.evaluation.pass_counter import CountingModel
from bench.sanity.model_checks import batch_dependent, check_model, probabilities, stateful_eval
from bench.sanity.model_state import changed, preserve_state, state_of

COUNT, BATCH = 24, 10


def convolutional() -> nn.Module:
    """With a batch norm whose statistics are not those of its start."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    net.train()(torch.rand(32, 3, 8, 8))
    return net.eval()


def from_timm(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, num_classes=10, **options)
    return net


HONEST: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "linear": (linear, 8),
    "two classes": (lambda: linear(2), 8),
    "convolutional": (convolutional, 8),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.5), linear()), 8),
    "resnet10t": (lambda: from_timm("resnet10t"), 28),
    "resnet18": (lambda: from_timm("resnet18"), 28),
    "vit": (lambda: from_timm("vit_tiny_patch16_224", img_size=28, patch_size=7), 28),
}


class AlwaysTraining(nn.Module):
    """Batch norm that is put in training mode before every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.net = nn.BatchNorm2d(3), linear()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(self.norm.train()(inputs))
        return logits


class Remembering(nn.Module):
    """Writes into a buffer, saved with the weights or not, or into a parameter, and answers as if it had not."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.net, self.where = linear(), where
        self.register_buffer("saved", torch.zeros(2))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("missing", torch.full((2,), torch.nan))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        if self.where == "replaced":
            self.saved = self.saved + 1
        elif self.where:
            self.get_parameter(self.where).data.add_(1) if "." in self.where else self.get_buffer(self.where).add_(1)
            if "." in self.where:
                logits = logits - 1
        return logits


class Ungrateful(nn.Module):
    """Leaves a module in training mode that does nothing there."""

    def __init__(self) -> None:
        super().__init__()
        self.rest, self.net = nn.Identity(), linear()

    def forward(self, inputs: Tensor) -> Tensor:
        self.rest.train()
        logits: Tensor = self.net(inputs)
        return logits


def normalised(logits: Tensor) -> Tensor:
    return nn.functional.batch_norm(logits, None, None, training=True)


def best_three(logits: Tensor) -> Tensor:
    """Only the three surest images of the batch keep their logits."""
    keep = logits.amax(1).topk(min(3, len(logits))).indices
    return torch.zeros_like(logits).index_copy(0, keep, logits[keep])


DEPENDENT: dict[str, Callable[[Tensor], Tensor]] = {
    "centred": lambda logits: logits - logits.mean(0),
    "centred unless alone": lambda logits: logits - logits.mean(0) if len(logits) > 1 else logits,
    "no number alone": lambda logits: logits + torch.zeros(()) / (len(logits) - 1),
    "infinite alone": lambda logits: logits + (torch.inf if len(logits) == 1 else 0),
    "normalised": normalised,
    "best three": best_three,
    "by position": lambda logits: logits + torch.arange(len(logits))[:, None] * torch.eye(10)[0],
    "squeezed": lambda logits: logits.squeeze(),
    "centred, one class off": lambda logits: (logits - logits.mean(0)).index_fill(1, torch.tensor([9]), -1e9),
}


def flags(model: nn.Module, inputs: Tensor, batch_size: int = BATCH) -> list[str]:
    return [finding.flag for finding in check_model(model, inputs, batch_size)]


@pytest.mark.parametrize("name", HONEST)
def test_an_ordinary_model_has_no_finding(name: str) -> None:
    build, side = HONEST[name]
    model, inputs = build().train(), images(side=side)
    kept, before, generator = inputs.clone(), state_of(model), torch.get_rng_state()
    assert check_model(model, inputs, BATCH) == []
    assert torch.equal(inputs, kept)
    assert changed(model, before) == []
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module.training for module in model.modules())


def test_a_randomised_model_is_not_asked_for_more() -> None:
    (found,) = check_model(Noisy(0.1), images(), BATCH)
    assert found.text == "randomised"
    assert found.note.startswith("randomised: logits of 24 of 24 images differ between two passes, by up to 0.")


@pytest.mark.parametrize("count", [BATCH, COUNT])
@pytest.mark.parametrize("name", DEPENDENT)
def test_logits_that_depend_on_the_batch(name: str, count: int) -> None:
    assert flags(Changed(DEPENDENT[name]), images(count)) == ["batch_dependent"]


def test_what_the_batch_does_is_told() -> None:
    note = "batch_dependent: logits of 24 of 24 images depend on the other images of the batch, by up to "
    found = batch_dependent(Changed(DEPENDENT["centred"]), images(), BATCH)
    assert found is not None
    assert found.note.startswith(note)
    alone = batch_dependent(Changed(normalised), images(), BATCH)
    assert alone == Finding("batch_dependent", "batch_dependent: on a batch of 1 the model raises ValueError")
    squeezed = batch_dependent(Changed(DEPENDENT["squeezed"]), images(), BATCH)
    assert squeezed == Finding("batch_dependent", "batch_dependent: on a batch of 1 the model returns (10,)")


def test_one_image_of_many_that_depends_on_the_others() -> None:
    """Image 1 is not among those asked one by one, which are the even ones of 64."""
    inputs = images(64)
    first = linear()(inputs[1:2])

    def change(logits: Tensor) -> Tensor:
        same = torch.isclose(logits, first).all(1)
        return logits + same[:, None] * logits.sum(0)

    found = batch_dependent(Changed(change), inputs, 16)
    assert found is not None
    assert "logits of 1 of 64 images" in found.note


@pytest.mark.parametrize(("shift", "expected"), [(1.5e-3, True), (5e-4, False)])
def test_a_thousandth_of_the_largest_logit_is_rounding(shift: float, expected: bool) -> None:
    logits = torch.tensor([[100.0, 0, -50]])
    model = Changed(lambda z: (logits + 100 * shift * (len(z) == 1)).expand(len(z), 3))
    assert (batch_dependent(model, images(), BATCH) is not None) is expected


@pytest.mark.parametrize(("lead", "expected"), [(2e-4, True), (4e-5, False)])
def test_another_class_is_rounding_only_where_two_are_as_good_as_equal(lead: float, expected: bool) -> None:
    logits = torch.tensor([[1, 1.0, -1]])
    model = Changed(lambda z: (logits + torch.tensor([0, lead if len(z) == 1 else -lead, 0])).expand(len(z), 3))
    assert (batch_dependent(model, images(), BATCH) is not None) is expected


def test_answers_that_are_missing_everywhere_do_not_depend_on_the_batch() -> None:
    missing = torch.zeros(10).index_copy(0, torch.tensor([3, 4]), torch.tensor([torch.nan, torch.inf]))
    assert batch_dependent(Changed(lambda z: z + missing), images(), BATCH) is None


def test_there_is_no_company_in_batches_of_one() -> None:
    assert batch_dependent(Changed(DEPENDENT["centred"]), images(), 1) is None
    assert batch_dependent(Changed(DEPENDENT["by position"]), images(1), 4) is None


def test_memory_that_runs_out_is_no_property_of_the_model() -> None:
    def change(logits: Tensor) -> Tensor:
        if len(logits) == 1:
            raise torch.OutOfMemoryError("tried to allocate everything")
        return logits

    with pytest.raises(torch.OutOfMemoryError):
        batch_dependent(Changed(change), images(), BATCH)


def test_a_batch_norm_in_training_mode() -> None:
    model = AlwaysTraining()
    before = state_of(model)
    company, leak = check_model(model, images(), BATCH)
    assert company.flag == "batch_dependent"
    assert leak.note == (
        "stateful_eval: a pass in evaluation mode changes norm.running_mean and 2 more and leaves norm in training mode"
    )
    assert changed(model, before) == []
    assert not model.norm.training


@pytest.mark.parametrize("where", ["saved", "unsaved", "calls", "replaced", "net.1.bias"])
def test_a_pass_that_writes_into_the_model(where: str) -> None:
    model = Remembering(where)
    before = state_of(model)
    found = stateful_eval(model, images())
    name = "saved" if where == "replaced" else where
    assert found == Finding("stateful_eval", f"stateful_eval: a pass in evaluation mode changes {name}")
    assert changed(model, before) == []
    check_model(model, images(), BATCH)
    assert changed(model, before) == []
    assert stateful_eval(Remembering(""), images()) is None


def test_a_module_left_in_training_mode() -> None:
    model = Ungrateful()
    (found,) = check_model(model, images(), BATCH)
    assert found == Finding("stateful_eval", "stateful_eval: a pass in evaluation mode leaves rest in training mode")
    assert stateful_eval(model, images()) == found
    assert not model.rest.training


def test_what_is_written_is_put_back_when_the_model_raises() -> None:
    model = Remembering("saved")
    before = state_of(model)
    with contextlib.suppress(KeyError), preserve_state(model):
        model(images())
        raise KeyError
    assert changed(model, before) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z.softmax(1),
        lambda z: nn.functional.one_hot(z.argmax(1), 10),
        lambda z: z.softmax(1) + 1e-6,
    ],
)
def test_probabilities(change: Callable[[Tensor], Tensor]) -> None:
    (found,) = check_model(Changed(change), images(), BATCH)
    assert found.flag == "probabilities"
    assert "of all 10 images lie in [0, 1] and sum to 1" in found.note


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z.log_softmax(1),
        lambda z: z.sigmoid(),
        lambda z: z - z.mean(1, keepdim=True) + 0.1,  # sums to 1, and is below 0 somewhere
        lambda z: 1.001 * z.softmax(1),
        lambda z: torch.cat([z[:1].sigmoid(), z[1:].softmax(1)]),
        lambda z: z * torch.nan,
    ],
)
def test_what_are_no_probabilities(change: Callable[[Tensor], Tensor]) -> None:
    assert probabilities(Changed(change), images()) is None


def test_images_that_the_model_writes_into_are_copies() -> None:
    inputs = images()

    class Writing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(0.5).flatten(1)

    assert flags(Writing(), inputs) == []
    assert torch.equal(inputs, images())


def test_what_the_checks_cost() -> None:
    counting = CountingModel(linear())
    assert check_model(counting, images(64), BATCH) == []
    assert (counting.forwards, counting.backwards) == (4 * 64 + 32 + 4 * BATCH, 0)


@pytest.mark.parametrize(
    ("inputs", "batch_size", "message"),
    [
        (images()[:0], 4, r"N above 0; got torch.float32 \(0, 3, 8, 8\)"),
        (images()[0], 4, "N above 0"),
        (images().double(), 4, "got torch.float64"),
        (images() + 0.5, 4, r"inputs must be in \[0, 1\]"),
        (images() * torch.nan, 4, r"inputs must be in \[0, 1\]"),
        (images(), 0, "batch_size must be 1 or more; got 0"),
    ],
)
def test_what_cannot_be_checked(inputs: Tensor, batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model(linear(), inputs, batch_size)


def test_images_of_a_set_are_what_the_checks_take() -> None:
    assert flags(linear(), some(5).inputs(torch.arange(5), torch.device("cpu"))) == []


def test_a_finding_with_its_figure() -> None:
    assert Finding("randomised", "").text == "randomised"
    assert Finding("scale_masking", "", 7.52).text == "scale_masking=7.5pt"
    assert Finding("scale_masking", "", 0.0).text == "scale_masking=0.0pt"


class OneOutput(nn.Module):
    """Writes every answer into the same memory and returns that, as a CUDA graph does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.memory = net, torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.net(inputs)
        if logits.requires_grad:
            return logits
        if self.memory.dtype != logits.dtype or len(self.memory) < len(logits):
            self.memory = torch.empty_like(logits)
        return self.memory[: len(logits)].copy_(logits)


class Company(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = linear()(inputs)
        return logits + inputs.mean()


@pytest.mark.parametrize(
    ("net", "flags"), [(lambda: Noisy(0.1), ["randomised"]), (Company, ["batch_dependent"]), (linear, [])]
)
def test_a_model_that_reuses_its_output_memory_is_judged_like_any_other(
    net: Callable[[], nn.Module], flags: list[str]
) -> None:
    for model in (net(), OneOutput(net())):
        assert [finding.flag for finding in check_model(model, images(COUNT), BATCH)] == flags


def test_logits_that_are_kept_survive_the_next_pass() -> None:
    model = OneOutput(linear())
    with torch.no_grad():
        first, _ = take_logits(model(images(4)), images(4))
        kept = first.clone()
        take_logits(model(1 - images(4)), images(4))
    assert torch.equal(first, kept)


class OneGraph(nn.Module):
    """The same with a graph: the answer is a view of one tensor that the next pass overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.memory = linear(), torch.empty(COUNT, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        self.memory.detach_()
        answer = self.memory[: len(logits)].copy_(logits)
        return answer


def test_a_report_of_several_batches_keeps_the_logits_of_each() -> None:
    labels = torch.zeros(COUNT, dtype=torch.int64)
    found = [gradient_report(net, images(COUNT), labels, batch_size=8).values for net in (OneGraph(), linear())]
    compared = [name for name in found[0] if "float64" not in name]  # a graph cannot be copied
    assert [found[0][name] for name in compared] == [found[1][name] for name in compared]
    doubled = [float64_logits(net, images(COUNT), 8).logits for net in (OneOutput(linear()), linear())]
    assert doubled[0] is not None
    assert doubled[1] is not None
    assert torch.equal(doubled[0], doubled[1])
