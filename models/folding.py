"""Fold batch norms into the preceding layers, which saves passes over the activations, and crop kernels.

In evaluation mode, y = γ·(Wx + b − μ)/√(σ² + ϵ) + β is an affine map of x: with s = γ/√(σ² + ϵ) per output channel,
W' = sW and b' = s(b − μ) + β (Jacob et al. 2018, arXiv 1712.05877, section 3.2). Convolutions on maps that are smaller
than their kernels reach skip the taps that only multiply padding, see :mod:`bench.models.cropped_kernels`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bench.models.cropped_kernels import crop_kernel

AGREEMENT = 1e-10  # maximum difference of float64 logits, relative to the largest logit if that is above 1
# Compared by exact type: a subclass may compute its weights in every forward pass.
AFFINE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)

Pair = tuple[str, str]  # names of an affine layer and of the batch norm that follows it
Call = tuple[str, Tensor, Tensor]  # name of a layer, its input and its output


def folded(model: nn.Module, example: Tensor) -> nn.Module | None:
    """Return a frozen copy of ``model`` in evaluation mode, with as few batch norms and kernel taps as possible.

    ``example`` is a batch of valid inputs, (N, C, H, W). It is used to observe the order of the layers, so that the
    model need not be traceable. The copy has the floating-point type of ``model``. ``model`` is not changed.

    Returns None if no batch norm can be folded and no kernel can be cropped, or if the model cannot be copied or
    converted to float64. Also returns None if the logits change in float64: then the output of a folded layer is also
    used by another layer.
    """
    try:
        # Only one copy, folded in place: a second copy in float64 would raise the peak memory of an attack.
        double = copy.deepcopy(model).to("cpu", torch.float64).eval().requires_grad_(False)
        images = example.detach().to("cpu", torch.float64)
        calls, logits = _observe(double, images)
        pairs = _find_pairs(double, calls)
        _fold(double, pairs)
        cropped = [crop_kernel(double.get_submodule(name), image) for name, image, _ in calls]
        if not (pairs or any(cropped)) or not _one_type(model):
            return None
        with torch.no_grad():
            same = _agree(double(images.clone()), logits)
    except Exception:  # noqa: BLE001 - a user's model may raise any exception, and is then used without folding
        return None
    first = next(model.parameters())
    return double.to(first.device, first.dtype) if same else None


def _agree(logits: Tensor, reference: Tensor) -> bool:
    return float((logits - reference).abs().max()) <= AGREEMENT * max(float(reference.abs().max()), 1.0)


def _one_type(model: nn.Module) -> bool:
    """Return whether all parameters and buffers have one floating-point type, so that it can be restored."""
    tensors = [*model.parameters(), *model.buffers()]
    return len({t.dtype for t in tensors if t.is_floating_point()}) == 1


def _observe(model: nn.Module, images: Tensor) -> tuple[list[Call], Tensor]:
    """Run the model, and return the calls of its layers and the logits."""
    calls: list[Call] = []
    with _recorded(model, calls), torch.no_grad():
        logits: Tensor = model(images).clone()  # a model may reuse one output tensor for all calls
    return calls, logits


def _find_pairs(model: nn.Module, calls: list[Call]) -> list[Pair]:
    """Return the foldable pairs: both layers are called once, and the second reads the tensor the first returned."""
    times = Counter(name for name, _, _ in calls)
    producers = {id(output): name for name, _, output in calls if times[name] == 1}  # ``calls`` keeps the tensors alive
    modules = dict(model.named_modules())
    pairs = [(producers[id(x)], name) for name, x, _ in calls if times[name] == 1 and id(x) in producers]
    return [pair for pair in pairs if _foldable(modules[pair[0]], modules[pair[1]])]


@contextmanager
def _recorded(model: nn.Module, calls: list[Call]) -> Iterator[None]:
    """Record every call of an affine layer or a batch norm in ``calls``: name, input and output."""

    def hook(name: str) -> Any:
        return lambda module, inputs, output: calls.append((name, inputs[0], output))

    watched = [(n, m) for n, m in model.named_modules() if type(m) in (*AFFINE, *NORMS) and not _hooked(m)]
    handles = [module.register_forward_hook(hook(name)) for name, module in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooked(module: nn.Module) -> bool:
    """Return whether the module has hooks, which may observe it or change its weights, as weight norm does."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """Return whether ``norm`` can be folded into ``layer``. Batch statistics are not constant and cannot be folded."""
    if type(layer) not in AFFINE or not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return False
    return not (isinstance(layer, nn.Linear) and not isinstance(norm, nn.BatchNorm1d))


def _fold(model: nn.Module, pairs: list[Pair]) -> None:
    """Fold each norm into its layer, in place, and replace the norm by its remaining operations."""
    modules = dict(model.named_modules())
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
        layer.weight, layer.bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        _replace(model, norm, _remaining_operations(norm))
    model.requires_grad_(False)


def _remaining_operations(norm: nn.Module) -> nn.Module:
    """Return the operations of ``norm`` after the normalisation: dropout and activation of timm's BatchNormAct2d."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
