"""Identify a model that was not trained here by its weights, its structure and its behaviour.

Weights alone do not identify a function: a flag in the forward pass can change every result and no weight. A stored
result is reused only for a model with the same weights and structure, and the same behaviour on the probe images.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attacks.gradients import differentiate, take_logits, weighted_sum
from bench.auditing.state import put_back
from bench.core.errors import CellFailure
from bench.core.specs import fingerprint
from bench.work.model_structure import structure_of, unchanged

PROBE_IMAGES = 256  # clean ones
PERTURBED_IMAGES = 16  # of them, that are perturbed and differentiated
#: Amplitudes of uniform noise on the probe images: a defence may act on perturbed images only.
AMPLITUDES = (2 / 255, 8 / 255, 0.1, 0.3)
PLAIN = (bool, int, float, str, type(None))


def weights_sha(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a module's parameters and buffers, and its extra state."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}:".encode())
        for part in _contents(value):
            digest.update(part)
    return digest.hexdigest()


def _contents(value: Any) -> Iterator[bytes]:
    """Yield the bytes to hash. Quantised modules hold packed tensors; extra state may be any object."""
    if isinstance(value, Tensor) and not value.is_quantized:
        yield f"{value.dtype}:{tuple(value.shape)};".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Tensor):
        yield repr(value).encode()  # scale and zero point
        yield from _contents(value.int_repr())
    elif isinstance(value, Mapping):
        for key in value:
            yield f"{key!r}:".encode()
            yield from _contents(value[key])
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _contents(part)
    else:
        yield (repr(value) if isinstance(value, (*PLAIN, torch.dtype, bytes)) else type(value).__name__).encode()


def model_identity(model: nn.Module, images: Tensor) -> dict[str, str]:
    """Weights, structure and behaviour of ``model``, in evaluation mode, each as a hash.

    ``images`` are the probe images, (N, 3, H, W) in [0, 1], on the model's device. Attributes that a forward pass
    changes, such as a counter, are not part of the structure.
    """
    with put_back(model):
        _bits(model, images[:1])  # some models set attributes in their first pass
    before = structure_of(model)
    behaviour = _behaviour(model, images)
    structure = unchanged(before, structure_of(model))
    return {"weights": weights_sha(model), "structure": fingerprint(structure), "behaviour": behaviour}


def _behaviour(model: nn.Module, images: Tensor) -> str:
    """Hash the bits of the logits on the probe images, on perturbed ones and on noise, and of one gradient."""
    digest = hashlib.sha256()
    generator = torch.Generator().manual_seed(0)
    cuda = [images.device] if images.device.type == "cuda" else []
    with put_back(model), torch.random.fork_rng(devices=cuda), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they appear again when the cells run
        torch.manual_seed(0)  # so that a model with random layers gives the same hash every time
        for points in _probe_points(images, generator):
            digest.update(_bits(model, points))
        digest.update(_gradient_bits(model, images[:PERTURBED_IMAGES]))
    return digest.hexdigest()


def _probe_points(images: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    yield images
    images = images[:PERTURBED_IMAGES]
    noise = (2 * torch.rand(images.shape, generator=generator) - 1).to(images)
    for amplitude in AMPLITUDES:
        yield (images + amplitude * noise).clamp(0, 1)
        yield (images + amplitude * noise.sign()).clamp(0, 1)
    yield noise.abs()


def _bits(model: nn.Module, points: Tensor) -> bytes:
    try:
        with torch.no_grad():
            logits, _ = take_logits(model(points.clone()), points)
    except Exception as error:  # noqa: BLE001 - an external model may raise anything; its cells report it
        return type(error).__name__.encode()
    return logits.float().cpu().contiguous().numpy().tobytes()


def _gradient_bits(model: nn.Module, images: Tensor) -> bytes:
    try:
        gradient = differentiate(model, images, weighted_sum).gradient
    except CellFailure as failure:
        return failure.reason.encode()
    except Exception as error:  # noqa: BLE001 - as above
        return type(error).__name__.encode()
    return gradient.float().cpu().contiguous().numpy().tobytes()
