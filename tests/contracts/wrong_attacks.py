"""A plug-in of attacks, each of which breaks one rule. Tests check it by ``bench check-plugin``."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.attacks import ATTACKS, AttackEntry, Cost
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query_budget import QueryBudget


class Spec(NamedTuple):
    eps: float
    query_budget: QueryBudget | None


def register(
    name: str,
    function: Any,
    *,
    passes: int = 0,
    backwards: int | None = None,
    source: str = "tests",
    bounded: bool = False,
    uses_gradient: bool = False,
) -> None:
    cost = Cost(passes, passes if backwards is None else backwards, passes, 0)
    entry = AttackEntry(
        summary=name,
        source=source,
        function=lambda model, inputs, labels, *, norm, eps, rng, query_budget=None: function(
            model, inputs, labels, Spec(eps, query_budget), rng
        ),
        uses_gradient=uses_gradient,
        norms=("linf",),
        cost=lambda params, num_classes: cost,
        bounded=bounded,
    )
    ATTACKS.register(name, entry, origin=__file__)


def gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    points = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(cross_entropy(model(points), labels), points)
    return found


def good(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    start = (inputs + spec.eps * (2 * rng.uniform("start", 0, inputs.shape[1:]) - 1)).clamp(0, 1)
    step = start + spec.eps * gradient(model, start, labels).sign()
    return step.clamp(inputs - spec.eps, inputs + spec.eps).clamp(0, 1)


def crashes(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    raise ValueError("the attack is broken")


def no_tensor(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Any:
    return inputs.numpy()


def wrong_shape(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs[:, :1]


def wrong_type(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs.double()


def out_of_ball(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return (inputs + 1.01 * spec.eps).clamp(0, 1)


def out_of_box(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs + spec.eps


def not_a_number(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs * torch.nan


def changes_inputs(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs.sub_(spec.eps).clamp_(0, 1)


def changes_labels(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    labels.fill_(0)
    return inputs


def changes_weights(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    for parameter in model.parameters():
        parameter.data.mul_(2)
    return inputs


def hooks(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    for module in model.children():
        module.register_forward_hook(lambda *_: None)
    return inputs


def trains(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    model.train()
    return inputs


def freezes(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    model.requires_grad_(False)
    return inputs


def leaves_gradients(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    cross_entropy(model(inputs.clone()), labels).backward()
    return inputs


def attached(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs.clone().requires_grad_() * 1


def draws_globally(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return (inputs + spec.eps * (torch.rand_like(inputs) - 0.5)).clamp(0, 1)


def not_repeatable(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    generator = torch.Generator()
    generator.seed()
    return (inputs + spec.eps * (torch.rand(inputs.shape, generator=generator) - 0.5)).clamp(0, 1)


def averages(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return (inputs + spec.eps * gradient(model, inputs, labels).mean(0).sign()).clamp(0, 1)


def hides_passes(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    for _ in range(20):
        model(inputs)
    return inputs


def does_not_report(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    return inputs


def does_not_stop(model: nn.Module, inputs: Tensor, labels: Tensor, spec: Spec, rng: SampleRng) -> Tensor:
    for _ in range(20):
        model(inputs)
    if spec.query_budget is not None:
        spec.query_budget.truncated = torch.ones(len(inputs), dtype=torch.bool)
    return inputs


register("good", good, passes=1)
register("no-source", good, passes=1, source="")
for function in (
    crashes, no_tensor, wrong_shape, wrong_type, out_of_ball, out_of_box, not_a_number, changes_inputs,
    changes_labels, changes_weights, hooks, trains, freezes, attached, draws_globally, not_repeatable, hides_passes,
):  # fmt: skip
    register(function.__name__.replace("_", "-"), function)
register("leaves-gradients", leaves_gradients, passes=1)
register("averages", averages, passes=1)
register("hides-gradients", good, passes=1, backwards=0)
register("no-gradients", does_not_report, passes=0, backwards=1, uses_gradient=True)
register("does-not-report", does_not_report, bounded=True)
register("does-not-stop", does_not_stop, passes=20, bounded=True)
