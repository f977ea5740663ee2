"""Verify the images that an attack returned, independently of the attack.

Every verified image is inside its ε-ball and inside [0, 1]. Otherwise the cell fails. Rounding errors are accepted: an
image that is outside by less than the tolerance is moved inside before its prediction is computed again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.core.errors import CellFailure
from bench.core.specs import Norm

RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 1e-6
SUM_ERROR = 1e-12  # relative error of a norm in float64
PART = 2**23  # number of pixel values whose distances are computed at a time
HALF_ULP = 2.0**-25  # largest rounding error of a float32 in [0, 1]


def predict(model: nn.Module, inputs: Tensor, num_classes: int) -> Tensor:
    """Return the predicted classes (N,) of float32 images (N, C, H, W), without gradients and in evaluation mode.

    Raise CellFailure("nan_logits") or CellFailure("wrong_shape") for invalid logits: an image without a valid
    prediction must not be recorded as robust.
    """
    model.eval()  # an attack may have changed the mode
    with torch.no_grad():
        logits = model(inputs.clone())  # a model may write into its input
    expected = (len(inputs), num_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise CellFailure("wrong_shape", f"the model returned {shape} where logits {expected} are needed.")
    if not torch.isfinite(logits).all():
        raise CellFailure("nan_logits", "the model returned NaN or infinite logits.")
    return logits.argmax(1)


def distances(inputs: Tensor, images: Tensor, norm: Norm) -> Tensor:
    """Return ‖images − inputs‖ of every image, (N,), computed in float64."""
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    parts = max(1, min(images.numel() // PART, len(images) // 2))  # float64 copies of large images take much memory
    pairs = zip(images.tensor_split(parts), inputs.tensor_split(parts), strict=True)
    differences = ((part.double() - clean.double()).flatten(1) for part, clean in pairs)
    return torch.cat([torch.linalg.vector_norm(part, ord=order, dim=1) for part in differences])


def verified(inputs: Tensor, adversarials: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return ``adversarials`` with rounding errors beyond the ball and the box removed.

    Both arguments are (N, C, H, W). Raise CellFailure for another type or shape, for NaN or infinite pixels, and for a
    violation beyond the tolerance. Views, other strides, graphs and other floating types are accepted.
    """
    adversarials = dense_floats(inputs, adversarials).to(inputs.dtype)
    if not torch.isfinite(adversarials).all():
        raise CellFailure("nan_input", "the attack returned NaN or infinite pixels.")
    low, high = float(adversarials.min()), float(adversarials.max())
    if low < -ABSOLUTE_TOLERANCE or high > 1 + ABSOLUTE_TOLERANCE:
        raise CellFailure(
            "budget_violation", f"the attack returned pixels from {low:.6g} to {high:.6g}, outside [0, 1]."
        )
    distance = float(distances(inputs, adversarials, norm).max())
    if distance > eps * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE:
        raise CellFailure(
            "budget_violation", f"the attack returned an image at {norm} distance {distance:.6g}, beyond eps {eps:.6g}."
        )
    return _moved_inside(inputs, adversarials.clamp(0, 1), norm, eps)


def dense_floats(inputs: Tensor, returned: object) -> Tensor:
    """Return what the attack returned, detached. Raise CellFailure unless it is a dense tensor of one float per pixel.

    Integers are refused, because they count in levels of 255 and not in units of [0, 1].
    """
    if not isinstance(returned, Tensor):
        raise CellFailure("wrong_type", f"the attack returned {type(returned).__name__}, not a tensor of images.")
    if returned.layout != torch.strided or returned.is_nested or returned.is_quantized:
        raise CellFailure("wrong_type", "the attack returned a sparse, nested or quantized tensor; return a dense one.")
    images = returned.detach().as_subclass(Tensor)  # a subclass may replace the methods that check it
    if images.shape != inputs.shape:
        raise CellFailure("wrong_shape", f"the attack returned {tuple(images.shape)} for images {tuple(inputs.shape)}.")
    if not images.is_floating_point():
        raise CellFailure("wrong_type", f"the attack returned {images.dtype}; return floats in [0, 1].")
    if images.device != inputs.device:
        raise CellFailure("wrong_type", f"the attack returned images on {images.device}, not on {inputs.device}.")
    return images.contiguous()


def _moved_inside(inputs: Tensor, adversarials: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return the nearest float32 images whose distance is at most ``eps`` in exact arithmetic."""
    center = inputs.double()
    if norm == "linf":
        low, high = _rounded(center - eps, up=True), _rounded(center + eps, up=False)
        return adversarials.clamp(low, high)
    delta = adversarials.double() - center
    length = distances(inputs, adversarials, norm).view(-1, 1, 1, 1)
    if norm == "l1":
        # Round towards the clean image, so that no pixel moves outwards. A margin for all pixels would be larger.
        closer = center + delta * ((eps * (1 - SUM_ERROR)) / length.clamp_min(1e-30))
        shrunk = torch.where(delta < 0, _rounded(closer, up=True), _rounded(closer, up=False))
        return torch.where(length <= eps, adversarials, shrunk)
    radius = max(eps - HALF_ULP * delta[0].numel() ** 0.5, 0.0)  # margin for rounding to float32
    shrunk = (center + delta * (radius / length.clamp_min(1e-30))).to(inputs.dtype)
    return torch.where(length <= eps, adversarials, shrunk)


def _rounded(values: Tensor, *, up: bool) -> Tensor:
    """Convert float64 to float32, rounding up only or down only."""
    rounded = values.float()
    too_far = rounded.double() < values if up else rounded.double() > values
    towards = torch.full_like(rounded, torch.inf if up else -torch.inf)
    moved: Tensor = torch.where(too_far, torch.nextafter(rounded, towards), rounded)
    return moved
