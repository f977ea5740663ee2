"""Contract of an attack: valid images, reproducible results, no side effects, and the stated cost.

The attack runs on three images and a small network whose logits do not depend on the batch, not even by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import Cost, ResolvedAttack, cost_of, resolve
from bench.contracts.check import Check, Rule, check_documented, require, run_check, run_checks
from bench.core.errors import CellFailure
from bench.core.specs import AttackSpec, Backend, Norm
from bench.core.vocabulary import NATIVE
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import verified
from bench.sanity.model_state import changed, state_of

NUM_CLASSES = 4
IDS = ("a", "b", "c")
SHAPE = (3, 6, 6)
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
BATCH_SIZE = 8
MAX_QUERIES = 3
ROUNDING = 1e-5  # allowed dependence of pixels on the batch, because sums are rounded differently


class RowwiseNetwork(nn.Module):
    """Two layers without matrix products: the logits of an image have the same bits in any batch."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        inputs = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.first = nn.Parameter(torch.randn(width, inputs, generator=generator) / inputs**0.5)
        self.last = nn.Parameter(torch.randn(NUM_CLASSES, width, generator=generator) / width**0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        hidden = nn.functional.silu(4 * (inputs.flatten(1) - 0.5)[:, None].mul(self.first).sum(2))
        return hidden[:, None].mul(self.last).sum(2)


@dataclass(frozen=True)
class Call:
    """Inputs, outputs and side effects of one call of an attack."""

    spec: AttackSpec
    inputs: Tensor  # (N, C, H, W), before the call
    labels: Tensor  # (N,), before the call
    given: tuple[Tensor, Tensor]  # the attack's copies of inputs and labels, after the call
    found: Tensor  # the images that the attack returned
    truncated: Tensor | None  # (N,) bool, searches that the query budget ended; None without a budget
    written: Sequence[str]  # parameters and buffers that the attack changed
    modes: Sequence[bool]  # training mode of every module
    with_gradient: Sequence[str]  # parameters with a gradient
    switched: Sequence[str]  # parameters whose requires_grad changed
    drew_globally: bool  # whether torch's global generator was used
    forwards: float  # passes per image
    backwards: float


def check_attack(name: str, *, backend: Backend = NATIVE) -> Iterator[Check]:
    """Check the attack ``name`` in every norm that it declares.

    An independent library (``backend="reference"``) is called only once per norm, because libraries are slow. Its model
    has parameters without gradients, because libraries call ``backward()``.
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
        ("costs what its entry states", partial(_cost, call, cost_of(attack.entry, call.spec.params, NUM_CLASSES))),
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
    everything = _images()
    inputs = everything[[IDS.index(sample) for sample in ids]]
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    spec = attack.spec(norm, EPS[norm], batch_size=BATCH_SIZE, max_queries=max_queries)
    rng = SampleRng(0, attack.name, ids)
    counting, before = CountingModel(model).eval(), state_of(model)
    given = inputs.clone(), labels.clone()
    with torch.random.fork_rng(devices=[]):
        generator = torch.get_rng_state()
        images, truncated = call_attack(attack.entry, counting, *given, spec=spec, rng=rng)
        drew_globally = not torch.equal(generator, torch.get_rng_state())
    require(isinstance(images, Tensor), f"it returned {type(images).__name__}; return a tensor of images")
    return Call(
        spec=spec,
        inputs=inputs,
        labels=labels,
        given=given,
        found=images,
        truncated=truncated,
        written=changed(model, before),
        modes=[module.training for module in counting.modules()],
        with_gradient=[key for key, parameter in model.named_parameters() if parameter.grad is not None],
        switched=[key for key, parameter in model.named_parameters() if not parameter.requires_grad],
        drew_globally=drew_globally,
        forwards=counting.forwards / len(inputs),
        backwards=counting.backwards / len(inputs),
    )


def _same_shape(call: Call) -> None:
    shape, wanted = tuple(call.found.shape), tuple(call.inputs.shape)
    require(shape == wanted, f"it returned shape {shape} for images {wanted}; return one image per input")
    kind = call.found.dtype
    require(kind == call.inputs.dtype, f"it returned {kind} for {call.inputs.dtype}; return the type of its inputs")


def _inside(call: Call) -> None:
    try:
        verified(call.inputs, call.found, call.spec.norm, call.spec.eps)
    except CellFailure as error:
        way_out = "return an image per input, without NaN"
        if error.reason == "budget_violation":
            way_out = "project the perturbation onto the ball of radius eps and clamp the images to [0, 1]"
        raise CellFailure(error.reason, f"{error.message.rstrip('.')}; {way_out}") from error


def _inputs_unchanged(call: Call) -> None:
    inputs, labels = call.given
    require(torch.equal(inputs, call.inputs), "it changed its inputs in place; work on a copy (inputs.clone())")
    require(torch.equal(labels, call.labels), "it changed its labels in place; work on a copy (labels.clone())")


def _model_unchanged(call: Call) -> None:
    require(not call.written, f"it changed the model's {', '.join(call.written)}; attack the inputs, not the model")
    require(not any(call.modes), "it left the model in training mode; leave model.train() out")
    switched = ", ".join(call.switched)
    require(not switched, f"it changed requires_grad of the model's {switched}; use torch.autograd.grad on the inputs")


def _no_gradients(call: Call) -> None:
    instead = "use torch.autograd.grad in place of backward()"
    require(not call.with_gradient, f"it left gradients in the model's {', '.join(call.with_gradient)}; {instead}")
    require(call.given[0].grad is None, f"it left a gradient in its inputs; {instead}")
    require(not call.given[0].requires_grad, "its inputs require gradients afterwards; work on a copy (inputs.clone())")
    require(not call.found.requires_grad, "its result is attached to a graph; return it detached (images.detach())")


def _no_global_draws(call: Call) -> None:
    require(
        not call.drew_globally,
        "it drew from torch's global generator, so results depend on what ran before; draw from the argument rng",
    )


def _cost(call: Call, cost: Cost) -> str:
    """Check the number of passes against the stated cost, with a tolerance of 10 % and two passes."""
    counts = f"{call.forwards:.4g} forward and {call.backwards:.4g} backward passes per image"
    stated = f"{cost.least_forwards} to {cost.forwards} forward and up to {cost.backwards} backward"
    holds = cost.least_forwards <= call.forwards <= 1.1 * cost.forwards + 2
    holds = holds and call.backwards <= 1.1 * cost.backwards + 2
    require(holds, f"it made {counts}, but its entry states {stated}; correct the argument cost of its entry")
    return counts


def _repeatable(attack: ResolvedAttack, norm: Norm, call: Call) -> None:
    apart = _apart(call.found, _call(attack, norm, IDS).found)
    require(
        apart == 0,
        f"pixels differ by up to {apart:.3g} between two calls with equal arguments; draw from the argument rng only",
    )


def _independent(attack: ResolvedAttack, norm: Norm, call: Call) -> None:
    apart = _apart(call.found, torch.cat([_call(attack, norm, [sample]).found for sample in IDS]))
    require(
        apart <= ROUNDING,
        f"pixels of images attacked alone differ by up to {apart:.3g} from those of the same images in a batch; treat "
        "each image by itself, and draw from the argument rng only",
    )


def _apart(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of two pixels; infinite for NaN and for different shapes."""
    if first.shape != second.shape:
        return float("inf")
    return float((first - second).detach().abs().nan_to_num(torch.inf).max())


def _stops(attack: ResolvedAttack, norm: Norm) -> None:
    """Check the query budget. One more pass is allowed, to confirm an adversarial image."""
    call = _call(attack, norm, IDS, max_queries=MAX_QUERIES)
    mask = call.truncated
    require(
        mask is not None and mask.shape == call.labels.shape and mask.dtype == torch.bool,
        "it does not report which searches max_queries ended; set query_budget.truncated, or leave bounded=True out",
    )
    require(
        call.forwards <= MAX_QUERIES + 1,
        f"it made {call.forwards:.4g} forward passes per image with max_queries={MAX_QUERIES}; stop there, or leave "
        "bounded=True out",
    )
