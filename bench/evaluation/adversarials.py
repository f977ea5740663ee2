"""Store the adversarial images of a cell in a file for later verification, optionally in 8 bits.

The file is a safetensors file with two tensors. ``images`` is (M, 3, H, W), float32 in [0, 1] or uint8. ``predictions``
is (M,), int64, the classes that the float32 model predicts for the images *as stored*. The header of the file has the
ids of the cell, the weights and the images.

An image in 8 bits has pixels k/255 with k = 0…255. An adversarial image is converted to the nearest 8-bit image inside
the same ball, if one exists. Rounding each pixel to the nearest k may leave the ball. For linf each pixel is clamped
separately. For the other norms, an image outside the ball moves towards the clean image by one level per step. The
pixels where the step increases the distance from the attack's image least move first. The last candidate is the 8-bit
image nearest to the clean image. The result is outside the ball only if every 8-bit image is outside. In that case, the
pixels of the clean image are not all multiples of 1/255.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.specs import AttackSpec, Encoding, Norm
from bench.data.tensors import Images, as_inputs
from bench.evaluation.verify import ABSOLUTE_TOLERANCE, distances, predict
from bench.runtime.files import FACTS, read_facts

LEVELS = 255
POWERS = {"l1": 1.0, "l2": 2.0}  # the norm is the p-th root of the sum of |δ|^p


def quantised(inputs: Tensor, adversarials: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return ``adversarials`` in 8 bits, (N, C, H, W) uint8. Both arguments are (N, C, H, W) float32 in [0, 1]."""
    levels = (adversarials.double() * LEVELS).round()
    radius = eps + ABSOLUTE_TOLERANCE / 2
    if norm == "linf":
        return _clamped(inputs, levels, radius).to(torch.uint8)
    return _moved_inside(inputs, adversarials, levels, radius, POWERS[norm]).to(torch.uint8)


def in_ball(inputs: Tensor, images: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return which 8-bit ``images``, (N, C, H, W) uint8, are within ``eps`` of ``inputs``, (N,) bool.

    A tolerance is needed because float32 cannot represent k/255 exactly: a distance of exactly 8 levels may be computed
    as 8/255 + 3e-8.
    """
    return distances(inputs, as_inputs(images), norm) <= eps + ABSOLUTE_TOLERANCE


def _clamped(inputs: Tensor, levels: Tensor, radius: float) -> Tensor:
    centre = inputs.double()
    low = ((centre - radius) * LEVELS).ceil().clamp_min(0)
    high = ((centre + radius) * LEVELS).floor().clamp_max(LEVELS)
    return torch.where(low <= high, levels.clamp(low, high), levels)


def _moved_inside(inputs: Tensor, adversarials: Tensor, levels: Tensor, radius: float, power: float) -> Tensor:
    """Move images towards the clean image, one level per step, until they are inside the ball or as near as possible.

    ``levels`` (N, C, H, W) are the rounded pixels in 0…255. The ball is {δ: Σ|δ|^power ≤ radius^power}.
    """
    centre, target = inputs.double().flatten(1), adversarials.double().flatten(1) * LEVELS
    flat = levels.flatten(1)
    while True:
        stepped = flat + (centre * LEVELS - flat).sign()
        parts = _parts(flat, centre, power)
        gain = (parts - _parts(stepped, centre, power)).clamp_min(0)
        excess = parts.sum(1) - radius**power
        if not ((excess > 0) & (gain > 0).any(1)).any():
            return flat.view_as(levels)
        error = (stepped - target).abs() - (flat - target).abs()
        flat = torch.where(_pixels_to_move(gain, error, excess), stepped, flat)


def _parts(levels: Tensor, centre: Tensor, power: float) -> Tensor:
    """Return |δ|^p of every pixel. δ is computed from float32 pixels, because the model receives float32 pixels."""
    return ((levels / LEVELS).float().double() - centre).abs().pow(power)


def _pixels_to_move(gain: Tensor, error: Tensor, excess: Tensor) -> Tensor:
    """Return the pixels, (N, D) bool, with the smallest ``error`` whose total ``gain`` covers the ``excess``, (N,)."""
    order = torch.where(gain > 0, error, torch.inf).argsort(dim=1, stable=True)
    ordered = gain.gather(1, order)
    before = ordered.cumsum(1) - ordered
    selected = (before < excess[:, None]) & (ordered > 0)
    return torch.zeros_like(selected).scatter(1, order, selected)


TYPES = {"float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class Adversarials:
    """Verified adversarial images, in the order of ``ids``."""

    ids: Sequence[str]
    images: Tensor  # (M, 3, H, W), float32 in [0, 1] or uint8, on the CPU
    predictions: Tensor  # (M,), int64, predicted classes of ``images`` as stored
    n_broken_8bit: int | None = None  # number of 8-bit images that are in the ball and misclassified; None for float32


@dataclass(frozen=True)
class AdversarialBatch:
    """Verified adversarial images from one batch of an attack, on the CPU."""

    indices: Tensor  # (M,), indices of the images in the cell
    images: Tensor  # (M, 3, H, W), float32
    predictions: Tensor  # (M,)


def encode(
    batches: Sequence[AdversarialBatch],
    encoding: Encoding,
    attack: AttackSpec,
    model: nn.Module,
    images: Images,
    *,
    num_classes: int,
    device: torch.device,
    batch_size: int,
) -> Adversarials:
    """Join all batches in the order of the cell. For ``uint8``, round the images and predict them again.

    Raise CellFailure if the model returns invalid logits for a rounded image.
    """
    if not batches:
        empty = torch.zeros(0, dtype=torch.int64)
        batches = [AdversarialBatch(empty, torch.zeros((0, *images.shape)), empty)]
    indices = torch.cat([part.indices for part in batches])
    order = indices.argsort()
    indices, pixels = indices[order], torch.cat([part.images for part in batches])[order]
    ids = [images.ids[i] for i in indices.tolist()]
    if encoding == "float32":
        return Adversarials(ids, pixels, torch.cat([part.predictions for part in batches])[order])
    rounded, predictions, n_misclassified = [pixels[:0].to(torch.uint8)], [indices[:0]], 0
    for chosen, part in zip(indices.split(batch_size), pixels.split(batch_size), strict=True):
        if len(chosen):
            inputs = images.inputs(chosen, device)
            grid = quantised(inputs, part.to(device), attack.norm, attack.eps)
            verdict = predict(model, as_inputs(grid), num_classes).cpu()
            inside = in_ball(inputs, grid, attack.norm, attack.eps).cpu()
            n_misclassified += int((inside & (verdict != images.labels[chosen])).sum())
            rounded.append(grid.cpu())
            predictions.append(verdict)
    return Adversarials(ids, torch.cat(rounded), torch.cat(predictions), n_misclassified)


def dump_adversarials(stored: Adversarials, cell_id: str, weights_sha: str) -> bytes:
    """Return the content of the safetensors file for ``stored``."""
    header = {"cell_id": cell_id, "weights_sha": weights_sha, "ids": list(stored.ids)}
    tensors = {"images": stored.images.contiguous(), "predictions": stored.predictions.contiguous()}
    return save(tensors, {FACTS: json.dumps(header)})


def parse_adversarials(content: bytes, cell_id: str, weights_sha: str, *, where: str) -> Adversarials:
    """Read the output of :func:`dump_adversarials` for this cell and these weights.

    Raise BenchError for any other content, with ``where`` in the message.
    """
    try:
        tensors, header = load(content), read_facts(content)
        images, predictions, ids = tensors.pop("images"), tensors.pop("predictions"), header.pop("ids")
        recorded_ids = header.pop("cell_id"), header.pop("weights_sha")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{where} has no valid adversarial images ({error}).") from error
    problem = _content_problem(images, predictions, ids) or (
        "has unknown content besides the images" if tensors or header else ""
    )
    if recorded_ids != (cell_id, weights_sha):
        problem = f"belongs to cell {recorded_ids[0]} or to other weights"
    if problem:
        raise BenchError(f"{where} {problem}.")
    return Adversarials(ids, images, predictions)


def _content_problem(images: Tensor, predictions: Tensor, ids: object) -> str:
    """Return the first problem with types, shapes or ids, or an empty string."""
    if images.dtype not in TYPES.values() or images.ndim != 4 or predictions.dtype != torch.int64:
        return f"has {images.dtype} images {tuple(images.shape)} and {predictions.dtype} predictions"
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        return "has ids that are no list of texts"
    if tuple(predictions.shape) != (len(images),) or len(ids) != len(images):
        return f"has {len(images)} images, {len(ids)} ids and predictions {tuple(predictions.shape)}"
    return "" if len(set(ids)) == len(ids) else "has an image id twice"
