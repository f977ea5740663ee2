"""Compute Lipschitz bounds of the logit margins as functions of the backbone's features h, globally and at images.

For z = W_H h + b_H and logits Wz + b, the margin of class i over class j has the constant gradient W_Hᵀ(W_i − W_j).
The largest norm over all pairs is therefore the exact Lipschitz constant. For a head with non-linearities, the product
of the constants of its layers is an upper bound. Both values are invariant under z → cz, W → W/c: small latents alone
do not make a model smoother.
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

    n: int  # number of images
    bound: Value  # global upper bound for all margins
    local_max: Value  # maximum of ‖∂m/∂h‖₂ over the images
    local_mean: Value  # mean of ‖∂m/∂h‖₂ over the images


def _silu_slope() -> float:
    """Return the largest slope of x·σ(x), at the zero x ≈ 2.3994 of its second derivative: x·tanh(x/2) = 2."""
    low, high = 2.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if middle * math.tanh(middle / 2) > 2 else (middle, high)
    sigmoid = 1 / (1 + math.exp(-low))
    return sigmoid * (1 + low * (1 - sigmoid))


#: Layers that are the identity in evaluation mode.
_IDENTITIES = (nn.Identity, nn.Dropout)
#: Lipschitz constants of element-wise layers.
_SLOPES: dict[type[nn.Module], float] = {
    nn.ReLU: 1.0,
    nn.ReLU6: 1.0,
    nn.Tanh: 1.0,
    nn.Sigmoid: 0.25,
    nn.SiLU: _silu_slope(),
}


def feature_bound(model: Classifier) -> Value:
    """Return an upper bound of the L2 Lipschitz constant of every logit margin as a function of h, in evaluation mode.

    The bound is max_{i≠j} ‖Aᵀ(W_i − W_j)‖₂ with A the product of the head's linear layers. It is exact if the head has
    only linear layers. Each non-linearity multiplies the bound by its own constant. For linear layers before a
    non-linearity, the bound is multiplied by the spectral norm of their product. The value is NaN with a reason for
    layers without a known constant. An example is an output layer of cosines with z, whose slope is unbounded near
    z = 0.
    """
    layers = _layers(model.head)
    if not _is_linear(model.output):
        return undefined(f"the output layer {type(model.output).__name__} is not linear and has no known global bound")
    for layer in layers:
        if not (_is_linear(layer) or type(layer) in _IDENTITIES or type(layer) in _SLOPES):
            return undefined(f"the head has a {type(layer).__name__}, which has no known Lipschitz constant")
    if len(_weight(model.output)) < 2:
        return undefined("a single class has no margin")
    if not all(_weight(layer).isfinite().all() for layer in [*layers, model.output] if _is_linear(layer)):
        return undefined("a weight of the head or of the output layer is not finite")
    return Value(_bound(layers, model.output))


def feature_slopes(model: Classifier, images: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """Return ‖∂m/∂h‖₂ at every image, (N,) float64. m is the margin of the label over the highest other logit.

    ``images`` is (N, 3, H, W), in [0, 1], with the device and dtype of the model, which is put in evaluation mode.
    ``labels`` is (N,), int64.
    """
    model.eval()
    norms = []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with torch.no_grad():
            features = model.embed(batch)
        norms.append(slopes(lambda h: model.output(model.head(h)), features, truth)[1])
    return torch.cat(norms)


def head_lipschitz(model: Classifier, images: Tensor, labels: Tensor, *, batch_size: int) -> HeadLipschitz:
    """Return the global bound and the slopes at ``images``. Shapes are as in :func:`feature_slopes`."""
    norms = feature_slopes(model, images, labels, batch_size)
    n_nonfinite = int((~norms.isfinite()).sum())
    if not len(norms) or n_nonfinite:
        reason = (
            f"the gradient is not finite on {n_nonfinite} of {len(norms)} images"
            if n_nonfinite
            else "no images were given"
        )
        local_max = local_mean = undefined(reason)
    else:
        local_max, local_mean = Value(float(norms.max())), Value(float(norms.mean()))
    return HeadLipschitz(len(norms), feature_bound(model), local_max, local_mean)


def _layers(head: nn.Module) -> list[nn.Module]:
    """Return the layers of ``head`` in forward order, with nested nn.Sequential modules flattened."""
    return [layer for child in head for layer in _layers(child)] if type(head) is nn.Sequential else [head]


def _is_linear(layer: nn.Module) -> bool:
    """Return whether the layer is an nn.Linear (possibly parametrised) with the forward pass of nn.Linear."""
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def _weight(layer: nn.Module) -> Tensor:
    """Return the matrix of a linear layer, float64 on the CPU."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().double().cpu()


def _bound(layers: list[nn.Module], output: nn.Module) -> float:
    """Return the product of the constants, from the output back to h. ``product`` multiplies adjacent linear layers."""
    bound = 1.0
    product: Tensor | None = _weight(output)
    norm: Callable[[Tensor], float] = (
        _largest_difference  # norm for the last linear layers; earlier linear layers use the spectral norm
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
    """Return max_{i≠j} ‖rows_i − rows_j‖₂ of ``rows``, (K, D) float64.

    The pair is found by ‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩. The mean of the rows is subtracted first, because a large
    common offset would cause a loss of digits. Without the mean, no row is longer than the result. The difference of
    the pair is computed directly.
    """
    centred = rows - rows.mean(0)
    gram = centred @ centred.T
    squares = gram.diagonal()
    first, second = divmod(int((squares.unsqueeze(1) + squares - 2 * gram).argmax()), len(rows))
    return float(torch.linalg.vector_norm(rows[first] - rows[second]))
