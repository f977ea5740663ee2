"""Identify an externally trained model by its weights, its structure and its behaviour.

Weights alone do not identify a function: a flag in the forward pass can change every result without changing a weight.
A stored result is reused only for a model with the same weights, structure and behaviour on the probe images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.attacks.gradients import differentiate, take_logits, weighted_sum
from bench.core.errors import CellFailure, ran_out_of_memory
from bench.core.specs import fingerprint
from bench.external.object_parts import contents
from bench.external.structure import structure_of, unchanged
from bench.sanity.model_state import probing

PROBE_IMAGES = 256  # number of clean images
PERTURBED_IMAGES = 16  # number of these images that are perturbed and differentiated
#: Amplitudes of uniform noise on the probe images, because a defence may act on perturbed images only.
AMPLITUDES = (2 / 255, 8 / 255, 0.1, 0.3)


def weights_sha(model: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters, buffers and extra state: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name}:".encode())
        for part in contents(value):
            digest.update(part)
    return digest.hexdigest()


def model_identity(model: nn.Module, images: Tensor) -> dict[str, str]:
    """Return hashes of weights, structure and behaviour of ``model``, which is in evaluation mode.

    ``images`` are the probe images, (N, 3, H, W) in [0, 1], on the model's device. Attributes that a forward pass
    changes, for example counters, are not part of the structure.
    """
    with probing(model, images.device):
        _bits(model, images[:1])  # some models set attributes in their first pass
    before = structure_of(model)
    behaviour = _behaviour(model, images)
    stable = unchanged(before, structure_of(model))
    structure = {repr(path): value for path, value in stable.items()}
    return {"weights": weights_sha(model), "structure": fingerprint(structure), "behaviour": behaviour}


def _behaviour(model: nn.Module, images: Tensor) -> str:
    """Hash the bits of the logits on the probe images, on perturbed images and on noise, and the bits of a gradient."""
    digest = hashlib.sha256()
    generator = torch.Generator().manual_seed(0)
    with probing(model, images.device):
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
            parts = [take_logits(model(part.clone()), part)[0] for part in points.split(PERTURBED_IMAGES)]
        return torch.cat(parts).float().cpu().contiguous().numpy().tobytes()
    except Exception as error:  # noqa: BLE001 - an external model may raise any error; its cells report it
        return _name_of(error)


def _gradient_bits(model: nn.Module, images: Tensor) -> bytes:
    try:
        gradient = differentiate(model, images, weighted_sum).gradient
    except CellFailure as failure:
        return failure.reason.encode()
    except Exception as error:  # noqa: BLE001 - as above
        return _name_of(error)
    return gradient.float().cpu().contiguous().numpy().tobytes()


def _name_of(error: Exception) -> bytes:
    """Return the type of an error. An out-of-memory error is raised again, because it does not identify the model."""
    if ran_out_of_memory(error):
        raise error
    return type(error).__name__.encode()
