"""The same model in float64: how much of its answers is the rounding of float32."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.core.errors import ran_out_of_memory
from bench.evaluation.pass_counter import CountingModel


class Doubled(NamedTuple):
    logits: Tensor | None  # (N, K); None with a reason
    reason: str  # a sentence fragment if and only if there are no logits
    n_forwards: int  # one an image


def float64_logits(model: nn.Module, inputs: Tensor, batch_size: int) -> Doubled:
    """Return the logits of a float64 copy of ``model``, in evaluation mode, at ``inputs`` (N, C, H, W).

    The copy is discarded. There is a reason instead of logits if the model cannot be copied, cannot run in float64 or
    returns another floating-point type. An out-of-memory error is raised as it is: the caller reduces the batch.
    """
    counting = CountingModel(nn.Identity())
    try:
        counting.model = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            logits = torch.cat([counting(part.double()).clone() for part in inputs.split(batch_size)])
    except Exception as error:  # a foreign model fails in its own ways
        if ran_out_of_memory(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        return Doubled(None, f"the model does not run in float64: {type(error).__name__}: {first}", counting.forwards)
    if logits.is_floating_point() and logits.dtype != torch.float64:
        return Doubled(None, f"the model returns {logits.dtype} in float64", counting.forwards)
    return Doubled(logits, "", counting.forwards)


def relative_differences(first: Tensor, second: Tensor) -> Tensor:
    """max_k |a_k − b_k| / max_k max(|a_k|, |b_k|), (N,) float64, of finite logits (N, K); 0 where nothing differs."""
    a, b = first.double(), second.double()
    apart, scale = (a - b).abs().amax(1), torch.maximum(a.abs(), b.abs()).amax(1)
    return apart / scale.masked_fill(apart == 0, 1)
