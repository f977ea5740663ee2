"""From one search to an attack: from what :class:`bench.attacks.registry.Attack` gets to what a hunt takes."""

from __future__ import annotations

from torch import Tensor, nn

from bench.attacks.active import hunt
from bench.attacks.queries import Attacked, allowance_of, outcome
from bench.attacks.registry import batch_size_of
from bench.attacks.rng import SampleRng
from bench.attacks.search import Samples, Search
from bench.core.specs import AttackSpec


def hunt_from(
    search: Search, model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng
) -> Tensor | Attacked:
    """The images after a search that needs no ranking of the classes; the label stands in its place."""
    samples = Samples(inputs, labels, rng.keys(), labels[:, None])
    allowance = allowance_of(spec, labels)
    found = hunt(search, model, samples, batch_size=batch_size_of(spec), allowance=allowance)
    return outcome(allowance, found.adversarial, found.cut)
