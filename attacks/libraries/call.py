"""Call an attack of another library on images, with its own seed, and keep what lies in the ball.

The library may use the global generators of Python, NumPy and torch. They are seeded before the attack and restored
after it. The seed depends on the seed of the cell and on the name, but not on the images.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.untouched import untouched
from bench.attacks.libraries.installed import adapter_of
from bench.attacks.libraries.names import parse
from bench.attacks.libraries.row import Row
from bench.core.specs import Norm
from bench.runtime.torch_state import harness_torch_state

ORDERS: dict[Norm, float] = {"linf": torch.inf, "l2": 2, "l1": 1}


@harness_torch_state()
def library_attack(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng, name: str
) -> Tensor:
    """Run the attack ``name``, such as ``foolbox.L2FMNAttack(steps=50)``, and return what the library returns.

    An attack that searches for the nearest adversarial image may return an image outside the ball. Such an image is
    replaced by the clean image, so that it counts as correctly classified. What is not finite or not in [0, 1] is
    returned as it is, because it is an error of the library and makes the cell fail. Shapes:
    :class:`bench.attacks.registry.Attack`. Raises BenchError if the library is not installed, and what the library
    raises.
    """
    inputs, parsed = inputs.detach(), parse(name)
    row = Row(norm, eps, seed=rng.library_seed())
    with untouched(model), seeded(row.seed, inputs.device), redirect_stdout(io.StringIO()):
        found: Tensor = adapter_of(parsed.library).run(parsed, model, inputs.clone(), labels.clone(), row)
    return nearest_in_ball(inputs, found, norm, eps) if parsed.described.minimal_norm else found


def nearest_in_ball(inputs: Tensor, found: Tensor, norm: Norm, eps: float) -> Tensor:
    """Return ``found``, (N, C, H, W), with the clean image in place of each valid image at a distance above ``eps``.

    Distances are computed in float64. Anything but a tensor of the shape of ``inputs`` is returned unchanged.
    """
    if not isinstance(found, Tensor) or found.shape != inputs.shape or not found.is_floating_point():
        return found
    images = found.detach().to(inputs.device)
    distance = torch.linalg.vector_norm((images.double() - inputs.double()).flatten(1), ord=ORDERS[norm], dim=1)
    flat = images.flatten(1)
    valid = torch.isfinite(flat).all(1) & (flat >= 0).all(1) & (flat <= 1).all(1)
    outside = valid & (distance > eps)
    return torch.where(outside[:, None, None, None], inputs.to(images.dtype), images)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and restore all of them on exit."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - the one that libraries use
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
