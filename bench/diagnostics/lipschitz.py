"""Lipschitz bounds of the logit margins in the backbone's features h, over all of space and at given images.

For z = W_H h + b_H and logits Wz + b the margin of class i over class j has one gradient everywhere, W_Hᵀ(W_i − W_j),
so the largest of their norms is the exact constant. A head with non-linearities is bounded by the product of its parts.
Both are unchanged by z → cz, W → W/c: small latents alone make no model smoother.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.diagnostics.latents import Value, undefined
from bench.diagnostics.local import slopes
from bench.models.classifier import Classifier


@dataclass(frozen=True)
class HeadLipschitz:
    """Slopes of logit margins with respect to the features h, in logits per unit of L2."""

    n: int
    bound: Value  # no margin is steeper anywhere
    local_max: Value  # ‖∂m/∂h‖₂ over the images
    local_mean: Value


def _silu_slope() -> float:
    """The largest slope of x·σ(x), where its second derivative vanishes: x·tanh(x/2) = 2, at x ≈ 2.3994."""
    low, high = 2.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if middle * math.tanh(middle / 2) > 2 else (middle, high)
    sigmoid = 1 / (1 + math.exp(-low))
    return sigmoid * (1 + low * (1 - sigmoid))


#: What is passed through unchanged in evaluation.
_IDENTITIES = (nn.Identity, nn.Dropout)
#: The Lipschitz constants of what acts on every element alone.
_SLOPES: dict[type[nn.Module], float] = {
    nn.ReLU: 1.0,
    nn.ReLU6: 1.0,
    nn.Tanh: 1.0,
    nn.Sigmoid: 0.25,
    nn.SiLU: _silu_slope(),
}


def feature_bound(model: Classifier) -> Value:
    """An upper bound of the Lipschitz constant, in L2, of every logit margin as a function of h, in evaluation.

    max_{i≠j} ‖Aᵀ(W_i − W_j)‖₂, A the product of the head's linear layers, exact when the head has nothing else. Each
    non-linearity multiplies by its own constant and cuts the product: linear layers before it count by their spectral
    norm. NaN with a reason for layers of which no constant is known; cosines with z, for one, are unbounded near z = 0.
    """
    layers = _layers(model.head)
    if not _is_linear(model.output):
        return undefined(f"the output layer {type(model.output).__name__} is not linear: no global bound is known")
    for layer in layers:
        if not (_is_linear(layer) or type(layer) in _IDENTITIES or type(layer) in _SLOPES):
            return undefined(f"the head has a {type(layer).__name__}, of which no Lipschitz constant is known")
    if len(_weight(model.output)) < 2:
        return undefined("there is no margin with a single class")
    if not all(_weight(layer).isfinite().all() for layer in [*layers, model.output] if _is_linear(layer)):
        return undefined("a weight of the head or of the output layer is not finite")
    return Value(_bound(layers, model.output))


def feature_slopes(model: Classifier, images: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """‖∂m/∂h‖₂ at every image, (N,) float64, m the margin of the label over the highest other logit.

    ``images`` is (N, 3, H, W), in [0, 1], on the device and in the type of the model, which is put in evaluation mode;
    ``labels`` is (N,), int64.
    """
    model.eval()
    found = []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with torch.no_grad():
            features = model.embed(batch)
        found.append(slopes(lambda h: model.output(model.head(h)), features, truth)[1])
    return torch.cat(found)


def head_lipschitz(model: Classifier, images: Tensor, labels: Tensor, *, batch_size: int) -> HeadLipschitz:
    """The global bound and what is found at ``images``; shapes as in :func:`feature_slopes`."""
    found = feature_slopes(model, images, labels, batch_size)
    broken = int((~found.isfinite()).sum())
    if not len(found) or broken:
        reason = f"the gradient is not finite on {broken} of {len(found)} images" if broken else "there are no images"
        local_max = local_mean = undefined(reason)
    else:
        local_max, local_mean = Value(float(found.max())), Value(float(found.mean()))
    return HeadLipschitz(len(found), feature_bound(model), local_max, local_mean)


def _layers(head: nn.Module) -> list[nn.Module]:
    """Return the layers of ``head`` in the order of their application, with all nested nn.Sequential opened."""
    return [layer for child in head for layer in _layers(child)] if type(head) is nn.Sequential else [head]


def _is_linear(layer: nn.Module) -> bool:
    """An nn.Linear, parametrised or not; a subclass may also compute something else, such as cosines."""
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def _weight(layer: nn.Module) -> Tensor:
    """The matrix of a linear layer, float64 on the CPU."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().double().cpu()


def _bound(layers: list[nn.Module], output: nn.Module) -> float:
    """The product of the constants, from the output back to h; ``product`` gathers adjacent linear layers."""
    bound = 1.0
    product: Tensor | None = _weight(output)
    norm: Callable[[Tensor], float] = (
        _largest_difference  # of the part that ends in the logits; the parts before it map vectors to vectors
    )
    for layer in reversed(layers):
        if _is_linear(layer):
            product = _weight(layer) if product is None else product @ _weight(layer)
        elif type(layer) in _SLOPES:
            bound *= _SLOPES[type(layer)] * (1.0 if product is None else norm(product))
            product, norm = None, _spectral_norm
    return bound if product is None else bound * norm(product)


def _spectral_norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def _largest_difference(rows: Tensor) -> float:
    """max_{i≠j} ‖rows_i − rows_j‖₂ of ``rows``, (K, D) float64.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩ finds the pair. What all rows share would drown the differences, so their mean is
    taken away first: no centred row is longer than the result, and nothing cancels. The pair is then measured directly.
    """
    centred = rows - rows.mean(0)
    gram = centred @ centred.T
    squares = gram.diagonal()
    first, second = divmod(int((squares.unsqueeze(1) + squares - 2 * gram).argmax()), len(rows))
    return float(torch.linalg.vector_norm(rows[first] - rows[second]))
