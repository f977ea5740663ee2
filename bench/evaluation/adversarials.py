"""The broken images of a cell as a file: what a reader needs to see for himself that they are broken.

A safetensors file with ``images``, (M, 3, H, W), float32 in [0, 1] or uint8, and ``predictions``, (M,) int64, what the
float32 model says of each *as it is stored*; its header names the cell, the weights and the images.
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
from bench.core.specs import AttackSpec, Encoding
from bench.data.tensors import Images, as_inputs
from bench.evaluation.quantise import in_ball, quantised
from bench.evaluation.verify import predict
from bench.results.safetensors_header import FACTS, read_facts

TYPES = {"float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class Adversarials:
    """Images that an attack broke, and that the harness verified, in the order of ``ids``."""

    ids: Sequence[str]
    images: Tensor  # (M, 3, H, W), float32 in [0, 1] or uint8, on the CPU
    predictions: Tensor  # (M,), int64, of the images as they are here
    n_broken_8bit: int | None = None  # how many are inside ball and box and still broken in 8 bits; None for float32


@dataclass(frozen=True)
class Kept:
    """Verified broken images as they come out of one batch of an attack, on the CPU."""

    indices: Tensor  # (M,), among the images of the cell
    images: Tensor  # (M, 3, H, W), float32
    predictions: Tensor  # (M,)


def encode(
    kept: Sequence[Kept],
    encoding: Encoding,
    attack: AttackSpec,
    model: nn.Module,
    images: Images,
    *,
    num_classes: int,
    device: torch.device,
    batch_size: int,
) -> Adversarials:
    """All batches in one, in the order of the cell; for ``uint8`` rounded and judged again.

    Raises CellFailure when the model gives no verdict on a rounded image.
    """
    if not kept:
        shape = (0, *images.inputs(torch.arange(1), device).shape[1:])
        none = torch.zeros(0, dtype=torch.int64)
        kept = [Kept(none, torch.zeros(shape), none)]
    indices = torch.cat([part.indices for part in kept])
    order = indices.argsort()
    indices, pixels = indices[order], torch.cat([part.images for part in kept])[order]
    ids = [images.ids[i] for i in indices.tolist()]
    if encoding == "float32":
        return Adversarials(ids, pixels, torch.cat([part.predictions for part in kept])[order])
    rounded, predictions, still = [pixels[:0].to(torch.uint8)], [indices[:0]], 0
    for chosen, part in zip(indices.split(batch_size), pixels.split(batch_size), strict=True):
        if len(chosen):
            inputs = images.inputs(chosen, device)
            grid = quantised(inputs, part.to(device), attack.norm, attack.eps)
            verdict = predict(model, as_inputs(grid), num_classes).cpu()
            inside = in_ball(inputs, grid, attack.norm, attack.eps).cpu()
            still += int((inside & (verdict != images.labels[chosen])).sum())
            rounded.append(grid.cpu())
            predictions.append(verdict)
    return Adversarials(ids, torch.cat(rounded), torch.cat(predictions), still)


def dump_adversarials(stored: Adversarials, cell_id: str, weights_sha: str) -> bytes:
    facts = {"cell_id": cell_id, "weights_sha": weights_sha, "ids": list(stored.ids)}
    tensors = {"images": stored.images.contiguous(), "predictions": stored.predictions.contiguous()}
    return save(tensors, {FACTS: json.dumps(facts)})


def parse_adversarials(content: bytes, cell_id: str, weights_sha: str, *, where: str) -> Adversarials:
    """Read what :func:`dump_adversarials` wrote for this cell of these weights. Raises BenchError for anything else."""
    try:
        tensors, facts = load(content), read_facts(content)
        images, predictions, ids = tensors.pop("images"), tensors.pop("predictions"), facts.pop("ids")
        made_for = facts.pop("cell_id"), facts.pop("weights_sha")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{where} does not hold adversarial images ({error}).") from error
    wrong = _wrong(images, predictions, ids) or ("has more in it than images" if tensors or facts else "")
    if made_for != (cell_id, weights_sha):
        wrong = f"belongs to cell {made_for[0]} or to other weights"
    if wrong:
        raise BenchError(f"{where} {wrong}.")
    return Adversarials(ids, images, predictions)


def _wrong(images: Tensor, predictions: Tensor, ids: Sequence[str]) -> str:
    if images.dtype not in TYPES.values() or images.ndim != 4 or predictions.dtype != torch.int64:
        return f"holds {images.dtype} images {tuple(images.shape)} and {predictions.dtype} predictions"
    if tuple(predictions.shape) != (len(images),) or len(ids) != len(images):
        return f"holds {len(images)} images, {len(ids)} names and predictions {tuple(predictions.shape)}"
    return "" if len(set(ids)) == len(ids) else "names an image twice"
