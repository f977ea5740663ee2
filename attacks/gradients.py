"""Run forward and backward passes of any module: its logits, and the gradient of a loss of the logits.

A zero gradient is a valid result. A missing gradient (None) is an error: the model detaches the graph, casts to
integers or switches gradients off. An attack that needs gradients cannot run on such a model, and its cell fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.core.errors import CellFailure

Loss = Callable[[Tensor], Tensor]  # logits (B, K) to losses (B,)

NO_GRADIENT = (
    "the model gives no gradient with respect to its input: something in its forward pass detaches the graph, such as "
    "detach, .data, .numpy(), torch.no_grad(), argmax or a cast to integers. Evaluate it with attacks that need no "
    "gradient, such as square."
)


class Pass(NamedTuple):
    """Result of one forward and one backward pass."""

    logits: Tensor  # (B, K), detached
    loss: Tensor  # (B,), detached
    gradient: Tensor  # (B, C, H, W), of the sum of the losses


def logits_at(model: nn.Module, points: Tensor) -> Tensor:
    """Return the logits of ``points``, (B, K), in the dtype of ``points``.

    The model gets a copy, since it may write into its input. Raises CellFailure("wrong_shape") for an output without
    logits, and CellFailure("nan_logits") if a logit is NaN or infinite. Such an image must not be reported as robust.
    """
    logits, _ = take_logits(model(points.clone()), points)
    if not torch.isfinite(logits).all():
        raise CellFailure("nan_logits", "the model returned NaN or infinite logits to the attack.")
    return logits


def take_logits(output: Any, points: Tensor) -> tuple[Tensor, str]:
    """Extract a copy of the logits from a model's output, cast to the dtype of ``points``, with a note.

    A copy is needed because a model may write every output into the same memory, as CUDA graphs do. The note names the
    entry or attribute of the output and the cast. It is empty if the output is a tensor of the same dtype.

    Raises CellFailure("wrong_shape") if the output contains no tensor of logits.
    """
    logits, taken = _find_logits(output)
    if not isinstance(logits, Tensor) or logits.layout != torch.strided or logits.is_nested or logits.is_complex():
        raise CellFailure(
            "wrong_shape",
            f"the model returned {_described(output)} where logits are needed: a tensor (N, K), a tuple that begins "
            "with it, a dictionary with the key 'logits', or an object with the attribute 'logits'.",
        )
    notes = [f"logits taken from {taken}"] if taken else []
    if logits.dtype != points.dtype:
        notes.append(f"logits cast from {str(logits.dtype).removeprefix('torch.')}")
    with torch.set_grad_enabled(torch.is_grad_enabled() or logits.requires_grad):  # the model may have switched it off
        return logits.to(points.dtype, copy=True), ", ".join(notes)


def _find_logits(output: Any) -> tuple[Any, str]:
    if isinstance(output, Tensor):
        return output, ""
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits, "the attribute 'logits'"
    if isinstance(output, dict):
        return output.get("logits"), "the key 'logits'"
    if isinstance(output, tuple | list) and output:
        return output[0], f"the first of {len(output)} outputs"
    return None, ""


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        kind = "nested" if output.is_nested else "complex" if output.is_complex() else "sparse"
        return f"a {kind} tensor"
    if isinstance(output, dict):
        return f"a dictionary with the keys {', '.join(sorted(map(repr, output))) or 'none'}"
    if isinstance(output, tuple | list):
        kinds = ", ".join(type(part).__name__ for part in output)
        return f"a {type(output).__name__} of {kinds or 'nothing'}"
    return f"an object of type {type(output).__name__}"


def differentiate(model: nn.Module, points: Tensor, loss: Loss) -> Pass:
    """Run one forward and one backward pass at ``points``, (B, C, H, W). Raises CellFailure("no_gradient")."""
    points = points.detach()
    points = (points.clone() if points.is_inference() else points).requires_grad_()
    logits, losses = _losses(model, points, loss)
    try:
        gradient = gradient_of(losses.sum(), points)
    except RuntimeError as error:
        if not _is_reentrant(error):
            raise
        logits, losses = _losses(model, points, loss)  # the failed backward pass has freed parts of the graph
        gradient = gradient_of(losses.sum(), points, keep_graph=True)
    return Pass(logits.detach(), losses.detach(), gradient)


def _losses(model: nn.Module, points: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        logits = logits_at(model, points)
    with torch.enable_grad():  # again: the model may have switched gradients off
        return logits, loss(logits)


def gradient_of(total: Tensor, points: Tensor, *, keep_graph: bool = False) -> Tensor:
    """Return ∂total/∂points, in the shape of ``points``. Raises CellFailure("no_gradient") if it does not exist.

    Reentrant checkpointing needs ``keep_graph``. Parameters that are not frozen then accumulate a gradient.
    """
    if not total.requires_grad:
        raise CellFailure("no_gradient", NO_GRADIENT)
    gradient: Tensor | None
    try:
        (gradient,) = torch.autograd.grad(total, points, retain_graph=keep_graph, allow_unused=True)
    except RuntimeError as error:
        if not (keep_graph and _is_reentrant(error)):
            raise
        total.backward(retain_graph=True)
        gradient, points.grad = points.grad, None
    if gradient is None:
        raise CellFailure("no_gradient", NO_GRADIENT)
    return gradient


def _is_reentrant(error: RuntimeError) -> bool:
    """Return whether the error comes from a reentrant ``torch.utils.checkpoint``, which supports only ``backward``."""
    return "checkpoint" in str(error).lower() and ".grad()" in str(error)


def weighted_sum(logits: Tensor) -> Tensor:
    """Return a fixed random combination of the logits, (B,), with a gradient that depends on all logits."""
    weights = torch.rand(logits.shape[1:], generator=torch.Generator().manual_seed(1))
    return (logits * weights.to(logits)).flatten(1).sum(1)
