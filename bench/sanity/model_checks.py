"""Check before all attacks that the model is a function from one image to its logits.

An attack assumes that the model is a fixed, deterministic function f: [0, 1]^(3·H·W) → R^K with useful gradients. Each
check detects one violation: ``randomised``, ``batch_dependent``, ``stateful_eval``, ``probabilities`` and
``test_time_optimization``. AutoAttack also has the first and the last two checks (Croce and Hein 2020,
arXiv 2003.01690, flags_doc.md: randomised defences, softmax output, optimisation at inference time).

``inputs`` are float32 (N, 3, H, W) in [0, 1], on the device of ``model``, which is put in evaluation mode. The checks
do not draw random numbers. To count the passes, pass a :class:`bench.evaluation.pass_counter.CountingModel`.

``test_time_optimization`` records calls of PyTorch's reverse-mode differentiation during a forward pass.
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

#: Functions of PyTorch that compute gradients. Code that imported ``grad`` by name bypasses the first two. All of them
#: call the last function, whose name is private and may change.
GRADIENT_FUNCTIONS: tuple[tuple[Any, str], ...] = (
    (torch.autograd, "grad"),
    (torch.autograd, "backward"),
    (Tensor, "backward"),
    (torch.autograd, "_engine_run_backward"),
)


@contextmanager
def gradient_calls() -> Iterator[list[str]]:
    """Record the names of the functions that compute gradients inside the block. Nested calls are counted once.

    The patched functions are restored on exit, also after an exception.
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
        for owner, name in GRADIENT_FUNCTIONS:
            if hasattr(owner, name):
                original = getattr(owner, name)
                patches.callback(setattr, owner, name, original)
                setattr(owner, name, listening(name, original))
        yield calls


# Tolerances of logits are relative to their sizes, see _sizes.
LOGIT_TOLERANCE = 1e-4  # larger than rounding errors for equal images in equal batches
BATCH_TOLERANCE = 1e-3  # larger than rounding errors for different batch sizes, which change the order of sums
OUTLIER = 10.0  # logits above this multiple of the median size are outliers, to which no other logit is compared
MAX_ALONE = 32  # maximum number of images that are checked in batches of one, spread evenly over all images
SUM_TOLERANCE = 1e-4  # tolerance for the sum of softmax outputs, and for each output


def check_model(model: nn.Module, inputs: Tensor, batch_size: int) -> list[Finding]:
    """Run every check in batches of ``batch_size``. Parameters and buffers are restored, eval mode stays on.

    At most 4N + 32 + 4·``batch_size`` forward passes are run. A randomised model is not checked for batch dependence.
    Raise ValueError for invalid inputs.
    """
    _check_inputs(inputs, batch_size)
    first = inputs[:batch_size]
    with preserve_state(model):
        leak = stateful_eval(model, first)
        random = randomised(model, inputs.split(batch_size))
        dependent = None if random else batch_dependent(model, inputs, batch_size)
        findings = [random, dependent, leak, probabilities(model, first), optimizes_at_test_time(model, first)]
    model.eval()
    return [finding for finding in findings if finding is not None]


def randomised(model: nn.Module, batches: Iterable[Tensor]) -> Finding | None:
    """Check that two passes over the same batch give equal logits. Return a finding if not.

    An attack on one random draw of a randomised model is not conclusive (Athalye et al. 2018).
    """
    model.eval()
    n_images, differ, largest_difference = 0, 0, 0.0
    with torch.no_grad():
        for inputs in batches:
            first, second = _logits(model, inputs), _logits(model, inputs)
            n_images += len(inputs)
            differ += int(unequal(first, second).sum())
            difference = (first - second).abs().nan_to_num(torch.inf, torch.inf)
            largest_difference = max(largest_difference, float(difference.max()))
    if not differ:
        return None
    note = f"logits of {differ} of {n_images} images differ between two passes, by up to {largest_difference:.3g}"
    return _finding("randomised", note)


def unequal(first: Tensor, second: Tensor) -> Tensor:
    """Return a mask (N,) of the images whose logits (N, K) differ by more than rounding in equal batches."""
    differences = (first - second).abs().nan_to_num(torch.inf, torch.inf)  # NaN is a difference
    return ((differences > LOGIT_TOLERANCE * _sizes(first)) | differences.isinf()).any(1)


def batch_dependent(model: nn.Module, inputs: Tensor, batch_size: int) -> Finding | None:
    """Check that f(x) does not depend on the other images of the batch. Return a finding if it does.

    Otherwise an adversarial image may be adversarial only in its own batch. Each image is evaluated in three batches:
    the usual one, alone (at most ``MAX_ALONE`` images), and a batch of every second image. The logits differ if a logit
    changes by more than ``BATCH_TOLERANCE`` of its size. They also differ if the predicted class changes and its logit
    leads by more than ``LOGIT_TOLERANCE`` of its size. Return None for a batch size of 1.
    """
    model.eval()
    indices = torch.arange(len(inputs))
    usual = torch.cat([_logits(model, inputs[part]) for part in indices.split(batch_size)])
    sizes = _sizes(usual)
    differs, largest_difference = torch.zeros(len(inputs), dtype=torch.bool), 0.0
    for part in _other_batches(indices, batch_size):
        try:
            logits = _logits(model, inputs[part])
        except (
            Exception
        ) as error:  # an external model may raise any error; the same images raised none in other batches
            if ran_out_of_memory(error):
                raise
            return _finding("batch_dependent", f"on a batch of {len(part)} the model raises {type(error).__name__}")
        expected = usual[part]
        if logits.shape != expected.shape:
            return _finding("batch_dependent", f"on a batch of {len(part)} the model returns {tuple(logits.shape)}")
        differs[part] |= _differs(expected, logits, sizes[part]).cpu()
        largest_difference = max(largest_difference, float(_differences(expected, logits).max()))
    if not differs.any():
        return None
    count = f"{int(differs.sum())} of {len(inputs)}"
    note = f"logits of {count} images depend on the other images of the batch, by up to {largest_difference:.3g}"
    return _finding("batch_dependent", note)


def stateful_eval(model: nn.Module, inputs: Tensor) -> Finding | None:
    """Check that a pass in evaluation mode changes no parameter, buffer or training mode. Return a finding if it does.

    Predictions of such a model depend on the order of the images. Changed values are restored.
    """
    model.eval()
    with preserve_state(model) as before, torch.no_grad():
        model(inputs.clone())
        written = changed(model, before)
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    model.eval()
    problems = [f"changes {_first(written)}"] if written else []
    problems += [f"leaves {_first(training)} in training mode"] if training else []
    return _finding("stateful_eval", f"a pass in evaluation mode {' and '.join(problems)}") if problems else None


def probabilities(model: nn.Module, inputs: Tensor) -> Finding | None:
    """Check that the outputs are logits. Return a finding if every row is in [0, 1] and sums to 1, as after a softmax.

    Rounding of the softmax removes small differences of logits. The cross-entropy is then constant where the model is
    confident.
    """
    model.eval()
    outputs = _logits(model, inputs)
    inside = (outputs >= -SUM_TOLERANCE) & (outputs <= 1 + SUM_TOLERANCE)
    if not (inside.all() and ((outputs.sum(1) - 1).abs() <= SUM_TOLERANCE).all()):
        return None
    note = f"the outputs of all {len(inputs)} images lie in [0, 1] and sum to 1: probabilities where logits are needed"
    return _finding("probabilities", note)


def optimizes_at_test_time(model: nn.Module, inputs: Tensor) -> Finding | None:
    """Check that the forward pass computes no gradients. Return a finding if it does.

    A model that optimises in its forward pass needs an adaptive attack.
    """
    model.eval()
    with torch.enable_grad():
        model(inputs.clone())  # torch.compile computes gradients during compilation, in the first pass
        with gradient_calls() as calls:
            model(inputs.clone())
    if not calls:
        return None
    times = "once" if len(calls) == 1 else f"{len(calls)} times"
    return _finding(
        "test_time_optimization", f"one forward pass computes gradients {times} ({', '.join(sorted(set(calls)))})"
    )


def _check_inputs(inputs: Tensor, batch_size: int) -> None:
    if inputs.ndim != 4 or inputs.dtype != torch.float32 or not len(inputs):
        raise ValueError(
            f"inputs must be float32 (N, C, H, W) with N above 0; got {inputs.dtype} {tuple(inputs.shape)}."
        )
    if not (inputs.min() >= 0 and inputs.max() <= 1):
        raise ValueError(f"inputs must be in [0, 1]; got {float(inputs.min()):.4g} to {float(inputs.max()):.4g}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}.")


def _finding(flag: str, note: str) -> Finding:
    return Finding(flag, f"{flag}: {note}")


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a float32 copy of the logits for a copy of ``inputs``.

    The copies are needed because a model may write into its input or reuse the memory of its output.
    """
    with torch.no_grad():
        logits: Tensor = model(inputs.clone())
    return logits.to(torch.float32, copy=True)


def _other_batches(indices: Tensor, batch_size: int) -> list[Tensor]:
    """Return index batches: some images alone, then all images in batches of every second image.

    The list is empty for a batch size of 1.
    """
    if batch_size == 1:
        return []
    halves = [part for half in (indices[::2], indices[1::2]) for part in half.split(batch_size) if len(part)]
    return [*spread(indices, MAX_ALONE).split(1), *halves]


def _sizes(logits: Tensor) -> Tensor:
    """Return the size of each logit, (N, K), to which its rounding error is relative.

    It is the largest of three magnitudes: the logit's own, that of the image's two largest logits, and that of the two
    largest logits of any image, but at most ``OUTLIER`` times their median over the images. Thus logits of classes that
    are switched off, such as −10⁹, and a single image with huge logits hide no difference of other logits.
    """
    magnitudes = logits.nan_to_num(0, 0, 0).abs()
    decisive = magnitudes.gather(1, logits.topk(min(2, logits.shape[1]), 1).indices).amax(1, keepdim=True)
    usual = torch.minimum(decisive.amax(), OUTLIER * decisive.median())
    return torch.maximum(magnitudes, decisive.clamp_min(usual))


def _differences(first: Tensor, second: Tensor) -> Tensor:
    """Return |first − second|, (n, K); 0 if both are NaN or equally infinite, infinite if only one is."""
    return (first - second).abs().masked_fill(same(first, second), 0).nan_to_num(torch.inf, torch.inf)


def _differs(first: Tensor, second: Tensor, sizes: Tensor) -> Tensor:
    """Return a mask (n,) of the images whose logits (n, K) differ between the arguments by more than rounding."""
    before, after = first.argmax(1, keepdim=True), second.argmax(1, keepdim=True)
    lead = torch.maximum(
        first.gather(1, before) - first.gather(1, after), second.gather(1, after) - second.gather(1, before)
    )
    flipped = (before != after) & (lead > LOGIT_TOLERANCE * sizes.gather(1, before))
    differences = _differences(first, second)
    differs = (differences > BATCH_TOLERANCE * sizes) | differences.isinf()
    return differs.any(1) | flipped.squeeze(1)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
