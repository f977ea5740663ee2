"""Contract of an attack: valid images, reproducible results, no side effects, and the stated cost.

The attack is run on three images and a small network. The logits of this network do not depend on the batch, not even
by rounding errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import AttackEntry, ResolvedAttack, cost_of, resolve
from bench.contracts.check import Check, Rule, check_documented, require, run_check, run_checks
from bench.core.errors import CellFailure
from bench.core.specs import AttackSpec, Backend, Norm
from bench.core.vocabulary import NATIVE
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import verified
from bench.sanity.model_parts import changed_parts, parts_of
from bench.sanity.model_state import changed, state_of

NUM_CLASSES = 4
IDS = ("a", "b", "c")
SHAPE = (3, 6, 6)
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
BATCH_SIZE = 8
MAX_QUERIES = 3
ROUNDING = 1e-5  # allowed dependence of pixels on the batch, caused by rounding errors of sums


class RowwiseNetwork(nn.Module):
    """Network of two layers without matrix products, so that logits are bitwise equal in every batch."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        inputs = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.first = nn.Parameter(torch.randn(width, inputs, generator=generator) / inputs**0.5)
        self.last = nn.Parameter(torch.randn(NUM_CLASSES, width, generator=generator) / width**0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        hidden = nn.functional.silu(4 * (inputs.flatten(1) - 0.5)[:, None].mul(self.first).sum(2))
        return hidden[:, None].mul(self.last).sum(2)


@dataclass(frozen=True)
class Call:
    """Inputs, outputs and side effects of one call of an attack."""

    spec: AttackSpec
    inputs: Tensor  # (N, C, H, W), before the call
    labels: Tensor  # (N,), before the call
    arguments: tuple[Tensor, Tensor]  # inputs and labels that were passed to the attack, after the call
    images: Tensor  # images returned by the attack
    truncated: Tensor | None  # (N,) bool, True for images whose query budget was exhausted; None without a budget
    changed: Sequence[str]  # names of parameters, buffers, hooks and attributes that the attack changed
    training: Sequence[bool]  # training mode of every module
    with_gradient: Sequence[str]  # names of parameters with a gradient
    switched: Sequence[str]  # names of parameters whose requires_grad changed
    used_global_generator: bool  # True if the global random generator of torch was used
    forwards: float  # forward passes per image
    backwards: float  # backward passes per image


def check_attack(name: str, *, backend: Backend = NATIVE) -> Iterator[Check]:
    """Check the attack ``name`` in every norm that it declares.

    An independent library (``backend="reference"``) is called only once per norm, because libraries are slow. The
    parameters of its model do not require gradients, because libraries call ``backward()``.
    """
    attack = resolve(name, backend)
    subject = f"attack {name}" if backend == NATIVE else f"attack {name} ({backend})"
    yield check_documented(subject, attack.entry.summary, attack.entry.source)
    for norm in attack.entry.norms:
        yield from _check_norm(f"{subject} {norm}", attack, norm)


def _check_norm(subject: str, attack: ResolvedAttack, norm: Norm) -> Iterator[Check]:
    calls: list[Call] = []

    def attacks() -> None:
        calls.append(_call(attack, norm, IDS))

    first = run_check(subject, "runs", attacks)
    yield first
    if first.problem:
        return
    (call,) = calls
    rules: list[Rule] = [
        ("returns images of the same shape and type", partial(_same_shape, call)),
        ("stays inside the ball and the box", partial(_inside, call)),
        ("leaves its inputs and labels unchanged", partial(_inputs_unchanged, call)),
        ("leaves the model unchanged", partial(_model_unchanged, call)),
        ("leaves no gradients behind", partial(_no_gradients, call)),
        ("draws nothing from torch's global generator", partial(_no_global_draws, call)),
        ("costs what its entry states", partial(_cost, call, attack.entry)),
        ("uses gradients as declared", partial(_gradients, call, attack.entry)),
    ]
    if attack.backend == NATIVE:
        rules.append(("repeatable", partial(_repeatable, attack, norm, call)))
    if attack.backend == NATIVE and not attack.entry.draws_by_batch:
        rules.append(("independent of the batch", partial(_independent, attack, norm, call)))
    if attack.entry.bounded:
        rules.append(("stops at max_queries", partial(_stops, attack, norm)))
    yield from run_checks(subject, rules)


def _images() -> Tensor:
    return torch.rand(len(IDS), *SHAPE, generator=torch.Generator().manual_seed(0))


def _call(attack: ResolvedAttack, norm: Norm, ids: Sequence[str], *, max_queries: int | None = None) -> Call:
    """Run the attack on the images ``ids`` and a new network, and record inputs, outputs and side effects."""
    model = RowwiseNetwork().eval()
    all_images = _images()
    inputs = all_images[[IDS.index(sample) for sample in ids]]
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    spec = attack.spec(norm, EPS[norm], batch_size=BATCH_SIZE, max_queries=max_queries)
    rng = SampleRng(0, attack.name, ids)
    counting = CountingModel(model).eval()
    before, parts = state_of(model), parts_of(model)
    arguments = inputs.clone(), labels.clone()
    with torch.random.fork_rng(devices=[]):
        generator = torch.get_rng_state()
        images, truncated = call_attack(attack.entry, counting, *arguments, spec=spec, rng=rng)
        used_global_generator = not torch.equal(generator, torch.get_rng_state())
    require(isinstance(images, Tensor), f"it returned {type(images).__name__}; return a tensor of images")
    return Call(
        spec=spec,
        inputs=inputs,
        labels=labels,
        arguments=arguments,
        images=images,
        truncated=truncated,
        changed=[*changed(model, before), *changed_parts(parts)],
        training=[module.training for module in counting.modules()],
        with_gradient=[key for key, parameter in model.named_parameters() if parameter.grad is not None],
        switched=[key for key, parameter in model.named_parameters() if not parameter.requires_grad],
        used_global_generator=used_global_generator,
        forwards=counting.forwards / len(inputs),
        backwards=counting.backwards / len(inputs),
    )


def _same_shape(call: Call) -> None:
    shape, expected = tuple(call.images.shape), tuple(call.inputs.shape)
    require(shape == expected, f"it returned shape {shape} for images {expected}; return one image per input")
    dtype = call.images.dtype
    require(dtype == call.inputs.dtype, f"it returned {dtype} for {call.inputs.dtype}; return the type of its inputs")


def _inside(call: Call) -> None:
    try:
        verified(call.inputs, call.images, call.spec.norm, call.spec.eps)
    except CellFailure as error:
        remedy = "return one image per input, without NaN"
        if error.reason == "wrong_type":
            remedy = "return a dense tensor with the type and the device of the inputs"
        if error.reason == "budget_violation":
            remedy = "project the perturbation onto the ball of radius eps and clamp the images to [0, 1]"
        raise CellFailure(error.reason, f"{error.message.rstrip('.')}; {remedy}") from error


def _inputs_unchanged(call: Call) -> None:
    inputs, labels = call.arguments
    require(torch.equal(inputs, call.inputs), "it changed its inputs in place; work on a copy (inputs.clone())")
    require(torch.equal(labels, call.labels), "it changed its labels in place; work on a copy (labels.clone())")


def _model_unchanged(call: Call) -> None:
    require(not call.changed, f"it changed the model's {', '.join(call.changed)}; attack the inputs, not the model")
    require(not any(call.training), "it left the model in training mode; do not call model.train()")
    switched = ", ".join(call.switched)
    require(not switched, f"it changed requires_grad of the model's {switched}; use torch.autograd.grad on the inputs")


def _no_gradients(call: Call) -> None:
    remedy = "use torch.autograd.grad instead of backward()"
    require(not call.with_gradient, f"it left gradients in the model's {', '.join(call.with_gradient)}; {remedy}")
    require(call.arguments[0].grad is None, f"it left a gradient in its inputs; {remedy}")
    require(
        not call.arguments[0].requires_grad,
        "its inputs require gradients after the call; work on a copy (inputs.clone())",
    )
    require(not call.images.requires_grad, "its result is attached to a graph; return it detached (images.detach())")


def _no_global_draws(call: Call) -> None:
    require(
        not call.used_global_generator,
        "it used the global random generator of torch, so that results depend on earlier calls; use the argument rng",
    )


def _cost(call: Call, entry: AttackEntry) -> str:
    """Check that the number of passes exceeds the stated cost by at most 10 % and two passes.

    An attack that states no backward pass may make none, because its model is not checked for gradients.
    """
    cost = cost_of(entry, call.spec.params, NUM_CLASSES)
    counts = f"{call.forwards:.4g} forward and {call.backwards:.4g} backward passes per image"
    stated = f"{cost.least_forwards} to {cost.forwards} forward and up to {cost.backwards} backward"
    holds = cost.least_forwards <= call.forwards <= 1.1 * cost.forwards + 2
    holds = holds and call.backwards <= (1.1 * cost.backwards + 2 if cost.backwards else 0)
    require(holds, f"it made {counts}, but its entry states {stated}; correct the argument cost of its entry")
    return f"{counts}; its entry states {stated}"


def _gradients(call: Call, entry: AttackEntry) -> None:
    """Check the declaration of gradients. An ensemble with a random search may make backward passes, too."""
    require(
        call.backwards > 0 or not entry.uses_gradient,
        "it makes no backward pass through the model, but its entry states uses_gradient=True; declare "
        "uses_gradient=False, or compute gradients of the model that it is given",
    )
    backward = cost_of(entry, call.spec.params, NUM_CLASSES).backwards
    require(
        bool(backward) or not entry.uses_gradient,
        "its entry states uses_gradient=True and a cost without backward passes; correct one of them",
    )


def _repeatable(attack: ResolvedAttack, norm: Norm, call: Call) -> None:
    difference = _apart(call.images, _call(attack, norm, IDS).images)
    require(
        difference == 0,
        f"pixels differ by up to {difference:.3g} between two calls with equal arguments; draw from the argument rng "
        "only",
    )


def _independent(attack: ResolvedAttack, norm: Norm, call: Call) -> None:
    difference = _apart(call.images, torch.cat([_call(attack, norm, [sample]).images for sample in IDS]))
    require(
        difference <= ROUNDING,
        f"pixels of images attacked alone differ by up to {difference:.3g} from pixels of the same images in a batch; "
        "attack each image independently, and draw from the argument rng only",
    )


def _apart(first: Tensor, second: Tensor) -> float:
    """Return the largest difference between pixels; infinite for NaN and for different shapes."""
    if first.shape != second.shape:
        return float("inf")
    return float((first - second).detach().abs().nan_to_num(torch.inf).max())


def _stops(attack: ResolvedAttack, norm: Norm) -> None:
    """Check the query budget. One additional pass is allowed, to confirm an adversarial image."""
    call = _call(attack, norm, IDS, max_queries=MAX_QUERIES)
    mask = call.truncated
    require(
        mask is not None and mask.shape == call.labels.shape and mask.dtype == torch.bool,
        "it does not report the images stopped by max_queries; set query_budget.truncated, or remove bounded=True",
    )
    require(
        call.forwards <= MAX_QUERIES + 1,
        f"it made {call.forwards:.4g} forward passes per image with max_queries={MAX_QUERIES}; stop at this number, or "
        "remove bounded=True",
    )
