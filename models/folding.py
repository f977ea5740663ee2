"""Batch norm folded into the layer before it: fewer passes over the activations, the same function.

In evaluation y = γ·(Wx + b − μ)/√(σ² + ϵ) + β is one affine map of x: with s = γ/√(σ² + ϵ) for every output channel,
W' = sW and b' = s(b − μ) + β (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
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

AGREEMENT = 1e-10  # of the logits in float64, relative to the largest where that is above 1
# By exact type: a subclass may make its weights anew in every pass.
AFFINE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d)

Pair = tuple[str, str]  # names of an affine layer and of the batch norm that follows it


def folded(model: nn.Module, example: Tensor) -> nn.Module | None:
    """A frozen copy of ``model``, in its type and evaluation mode, with every batch norm folded that can be.

    ``example`` is a batch of images, (N, C, H, W), whatever the model takes; with it the order of the layers is seen,
    so that the model's own code stays what it is and nothing needs to be traceable. None where there is nothing to
    fold, where the model cannot be copied or put in float64, or where the logits of the copy, in float64, are not those
    of the original: then a layer's output went elsewhere, too. ``model`` itself is only read.
    """
    try:
        # One copy, folded in place: a second one in float64 would be the most memory that an attack needs.
        other = copy.deepcopy(model).to("cpu", torch.float64).eval().requires_grad_(False)
        images = example.detach().to("cpu", torch.float64)
        pairs, logits = _follow(other, images)
        if not pairs or not _one_type(model):
            return None
        _fold(other, pairs)
        with torch.no_grad():
            same = _agree(other(images.clone()), logits)
    except Exception:  # noqa: BLE001 - a foreign model fails in its own ways, and works unfolded as it did before
        return None
    first = next(model.parameters())
    return other.to(first.device, first.dtype) if same else None


def _agree(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= AGREEMENT * max(float(other.abs().max()), 1.0)


def _one_type(model: nn.Module) -> bool:
    """Whether all numbers of the model have one floating-point type, so that the way through float64 is reversible."""
    tensors = [*model.parameters(), *model.buffers()]
    return len({t.dtype for t in tensors if t.is_floating_point()}) == 1


def _follow(model: nn.Module, images: Tensor) -> tuple[list[Pair], Tensor]:
    """The pairs whose second takes the very tensor that the first returned, each called once; and the logits."""
    calls: list[tuple[str, Tensor, Tensor]] = []
    with _recorded(model, calls), torch.no_grad():
        logits: Tensor = model(images).clone()  # a model may write its answers into the same place every time
    times = Counter(name for name, _, _ in calls)
    made = {id(output): name for name, _, output in calls if times[name] == 1}  # ``calls`` keeps the tensors alive
    modules = dict(model.named_modules())
    pairs = [(made[id(given)], name) for name, given, _ in calls if times[name] == 1 and id(given) in made]
    return [pair for pair in pairs if _foldable(modules[pair[0]], modules[pair[1]])], logits


@contextmanager
def _recorded(model: nn.Module, calls: list[tuple[str, Tensor, Tensor]]) -> Iterator[None]:
    """Every call of an affine layer or a norm into ``calls``: its name, what it was given, what it returned."""

    def hook(name: str) -> Any:
        return lambda module, given, output: calls.append((name, given[0], output))

    watched = [(n, m) for n, m in model.named_modules() if type(m) in (*AFFINE, *NORMS) and not _hooked(m)]
    handles = [module.register_forward_hook(hook(name)) for name, module in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hooked(module: nn.Module) -> bool:
    """Somebody else looks on or changes the weights, as a weight norm does."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """Evaluation by running statistics; a norm without them uses those of the batch, which no weights can hold."""
    if type(layer) not in AFFINE or not isinstance(norm, _BatchNorm) or norm.running_mean is None:
        return False
    return not (isinstance(layer, nn.Linear) and not isinstance(norm, nn.BatchNorm1d))


def _fold(model: nn.Module, pairs: list[Pair]) -> None:
    """Fold in place: new weights for the layer, and of the norm only what it does beside."""
    modules = dict(model.named_modules())
    for layer_name, norm_name in pairs:
        layer, norm = modules[layer_name], modules[norm_name]
        layer.weight, layer.bias = fuse_conv_bn_weights(
            layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        _replace(model, norm, _rest(norm))
    model.requires_grad_(False)


def _rest(norm: nn.Module) -> nn.Module:
    """timm's BatchNormAct2d is followed by a dropout and an activation of its own."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
