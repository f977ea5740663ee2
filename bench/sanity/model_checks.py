"""Check before any attack that the model is a function from one image to its logits.

An attack takes the model for a fixed, deterministic f: [0, 1]^(3·H·W) → R^K whose gradients it may follow. Each check
asks for one way in which that is not so: ``randomised``, ``batch_dependent``, ``stateful_eval``, ``probabilities`` and
``test_time_optimization``; the last two and the first are those of AutoAttack (Croce and Hein 2020, arXiv 2003.01690,
flags_doc.md: randomised defences, softmax output, optimisation at inference time).

``inputs`` are float32 (N, 3, H, W) in [0, 1], on the device of ``model``, which is put in evaluation mode. No check
draws at random. To know what they cost, hand over a :class:`bench.evaluation.pass_counter.CountingModel`.

Listens for calls of PyTorch's reverse-mode differentiation while a model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import ran_out_of_memory
from bench.core.records import Finding
from bench.data.tensors import spread
from bench.sanity.model_state import changed, preserve_state, same

#: Where a gradient can be asked for. Whoever has imported ``grad`` by name passes the first two by; all of them end in
#: the engine, whose name is private and may one day be another.
DOORS: tuple[tuple[Any, str], ...] = (
    (torch.autograd, "grad"),
    (torch.autograd, "backward"),
    (Tensor, "backward"),
    (torch.autograd, "_engine_run_backward"),
)


@contextmanager
def gradient_calls() -> Iterator[list[str]]:
    """The names of the functions that are called for gradients inside the block; a call within a call is not another.

    What was patched for it is put back, whatever happens.
    """
    calls: list[str] = []
    inside: list[str] = []

    def listening(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not inside:
                calls.append(name.removeprefix("_"))
            inside.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                inside.pop()

        return call

    with ExitStack() as patches:
        for owner, name in DOORS:
            if hasattr(owner, name):
                original = getattr(owner, name)
                patches.callback(setattr, owner, name, original)
                setattr(owner, name, listening(name, original))
        yield calls


LOGITS_APART = 1e-4  # of the largest logit: more than rounding makes of equal images in equal batches
COMPANY_APART = 1e-3  # of the largest logit: kernels add up in another order when a batch has another size
ALONE = 32  # images at most, one of every part of them, that are asked one by one
SUM_APART = 1e-4  # of the sum of softmax outputs from 1, and of each from [0, 1]


def check_model(model: nn.Module, inputs: Tensor, batch_size: int) -> list[Finding]:
    """Run every check in batches of ``batch_size``. The model keeps parameters and buffers and is left in eval mode.

    At most 4N + 32 + 4·``batch_size`` forward passes. A model that answers otherwise when asked again is not asked
    what its answers depend on. Raises ValueError for inputs that are none.
    """
    _check_inputs(inputs, batch_size)
    first = inputs[:batch_size]
    with preserve_state(model):
        leak = stateful_eval(model, first)
        random = randomised(model, inputs.split(batch_size))
        company = None if random else batch_dependent(model, inputs, batch_size)
        found = [random, company, leak, probabilities(model, first), optimizes_at_test_time(model, first)]
    model.eval()
    return [finding for finding in found if finding is not None]


def randomised(model: nn.Module, batches: Iterable[Tensor]) -> Finding | None:
    """f(x) ≠ f(x) in two passes over the same batch: one draw of an attack says little (Athalye et al. 2018)."""
    model.eval()
    asked, differ, furthest = 0, 0, 0.0
    with torch.no_grad():
        for inputs in batches:
            first, second = _answer(model, inputs), _answer(model, inputs)
            apart = (first - second).abs().amax(1).nan_to_num(torch.inf, torch.inf)
            unlike = (apart > LOGITS_APART * first.abs().amax()) | apart.isinf()  # NaN is no equal
            asked += len(inputs)
            differ += int(unlike.sum())
            furthest = max(furthest, float(apart.max()))
    if not differ:
        return None
    note = f"logits of {differ} of {asked} images differ between two passes, by up to {furthest:.3g}"
    return _finding("randomised", note)


def batch_dependent(model: nn.Module, inputs: Tensor, batch_size: int) -> Finding | None:
    """f(x) depends on the images beside x: alone, or in batches of every other image, the logits are others.

    An adversarial image then is one in its own batch only. More than rounding is a logit that moves by more than
    ``COMPANY_APART`` of the largest, or another predicted class whose lead is more than ``LOGITS_APART`` of it. Asked
    one by one are ``ALONE`` images at most. With batches of one image there is no company: None.
    """
    model.eval()
    everyone = torch.arange(len(inputs))
    usual = torch.cat([_answer(model, inputs[part]) for part in everyone.split(batch_size)])
    unlike, furthest = torch.zeros(len(inputs), dtype=torch.bool), 0.0
    for part in _other_company(everyone, batch_size):
        try:
            logits = _answer(model, inputs[part])
        except Exception as error:  # a foreign model, which has answered these images in other batches
            if ran_out_of_memory(error):
                raise
            return _finding("batch_dependent", f"on a batch of {len(part)} the model raises {type(error).__name__}")
        expected = usual[part]
        if logits.shape != expected.shape:
            return _finding("batch_dependent", f"on a batch of {len(part)} the model returns {tuple(logits.shape)}")
        unlike[part] |= _moved(expected, logits, _largest(usual)).cpu()
        furthest = max(furthest, float(_apart(expected, logits).max()))
    if not unlike.any():
        return None
    count = f"{int(unlike.sum())} of {len(inputs)}"
    note = f"logits of {count} images change with the images beside them, by up to {furthest:.3g}"
    return _finding("batch_dependent", note)


def stateful_eval(model: nn.Module, inputs: Tensor) -> Finding | None:
    """A pass in evaluation mode changes a parameter or a buffer, or leaves a module in training mode.

    The order of the images then decides over their predictions. What was changed is put back.
    """
    model.eval()
    with preserve_state(model) as before, torch.no_grad():
        model(inputs.clone())
        written = changed(model, before)
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    model.eval()
    seen = [f"changes {_first(written)}"] if written else []
    seen += [f"leaves {_first(training)} in training mode"] if training else []
    return _finding("stateful_eval", f"a pass in evaluation mode {' and '.join(seen)}") if seen else None


def probabilities(model: nn.Module, inputs: Tensor) -> Finding | None:
    """Every row lies in [0, 1] and sums to 1: a softmax is applied already.

    Its rounding hides the gaps between logits: a cross-entropy of it stays flat where the model is sure.
    """
    model.eval()
    outputs = _answer(model, inputs)
    inside = (outputs >= -SUM_APART) & (outputs <= 1 + SUM_APART)
    if not (inside.all() and ((outputs.sum(1) - 1).abs() <= SUM_APART).all()):
        return None
    note = f"the outputs of all {len(inputs)} images lie in [0, 1] and sum to 1: probabilities where logits are needed"
    return _finding("probabilities", note)


def optimizes_at_test_time(model: nn.Module, inputs: Tensor) -> Finding | None:
    """The model calls for gradients inside its forward pass: it optimises before it answers, and so must the attack."""
    model.eval()
    with torch.enable_grad():
        model(inputs.clone())  # a compiled model differentiates while it is compiled, in its first pass
        with gradient_calls() as calls:
            model(inputs.clone())
    if not calls:
        return None
    times = "once" if len(calls) == 1 else f"{len(calls)} times"
    return _finding(
        "test_time_optimization", f"one forward pass asks {times} for gradients ({', '.join(sorted(set(calls)))})"
    )


def _check_inputs(inputs: Tensor, batch_size: int) -> None:
    if inputs.ndim != 4 or inputs.dtype != torch.float32 or not len(inputs):
        raise ValueError(f"inputs are float32 (N, C, H, W) with N above 0; got {inputs.dtype} {tuple(inputs.shape)}.")
    if not (inputs.min() >= 0 and inputs.max() <= 1):
        raise ValueError(f"inputs lie in [0, 1]; got {float(inputs.min()):.4g} to {float(inputs.max()):.4g}.")
    if batch_size < 1:
        raise ValueError(f"batch_size is 1 or more; got {batch_size}.")


def _finding(flag: str, note: str) -> Finding:
    return Finding(flag, f"{flag}: {note}")


def _answer(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a copy of the logits, float32: a model may write into its input, and every output into the same memory."""
    with torch.no_grad():
        logits: Tensor = model(inputs.clone())
    return logits.to(torch.float32, copy=True)


def _other_company(everyone: Tensor, batch_size: int) -> list[Tensor]:
    """Some images one by one, then all of them with the next but one beside them. Batches as they were are left out."""
    if batch_size == 1:
        return []
    halves = [part for half in (everyone[::2], everyone[1::2]) for part in half.split(batch_size) if len(part)]
    return [*spread(everyone, ALONE).split(1), *halves]


def _largest(logits: Tensor) -> Tensor:
    return logits.nan_to_num(0, 0, 0).abs().amax()


def _apart(first: Tensor, second: Tensor) -> Tensor:
    """max_k |first − second|, (n,): 0 where both are NaN or equally infinite, infinite where only one is."""
    return (first - second).abs().masked_fill(same(first, second), 0).nan_to_num(torch.inf, torch.inf).amax(1)


def _moved(first: Tensor, second: Tensor, largest: Tensor) -> Tensor:
    """Return which images, (n,), have logits (n, K) in ``second`` that differ from ``first`` by more than rounding."""
    was, now = first.argmax(1, keepdim=True), second.argmax(1, keepdim=True)
    lead = torch.maximum(first.gather(1, was) - first.gather(1, now), second.gather(1, now) - second.gather(1, was))
    flipped = (was != now) & (lead > LOGITS_APART * largest)
    apart = _apart(first, second)
    return (apart > COMPANY_APART * largest) | apart.isinf() | flipped.squeeze(1)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
