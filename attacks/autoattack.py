"""AutoAttack, Croce and Hein 2020 (arXiv 2003.01690): four attacks one after the other, each on what is still standing.

The stages are searches over an active set (:mod:`attacks.active`): the verdict is that of the published ensemble, the
work is done only on images that are not yet broken.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attacks.active import Samples, Search, hunt, take
from attacks.apgd import Apgd, Objective
from attacks.ensemble import ITERATIONS, SQUARE_QUERIES, STAGES, lacks_dlr, target_count
from attacks.fab import FabTargeted
from attacks.rng import SampleRng
from attacks.square import Square
from bench.core.specs import AttackSpec, Norm


def _apgd_t(norm: Norm, eps: float, num_classes: int) -> Search:
    objective: Objective = "margin-targeted" if lacks_dlr("apgd-t", num_classes) else "dlr-targeted"
    return Apgd(norm=norm, eps=eps, objective=objective, steps=ITERATIONS, attempts=target_count(num_classes))


def _apgd_dlr(norm: Norm, eps: float, num_classes: int) -> Search:
    objective: Objective = "margin" if lacks_dlr("apgd-dlr", num_classes) else "dlr"
    return Apgd(norm=norm, eps=eps, objective=objective, steps=ITERATIONS)


BUILD: dict[str, Callable[[Norm, float, int], Search]] = {
    "apgd-ce": lambda norm, eps, num_classes: Apgd(norm=norm, eps=eps, objective="ce", steps=ITERATIONS),
    "apgd-dlr": _apgd_dlr,
    "apgd-t": _apgd_t,
    "fab-t": lambda norm, eps, num_classes: FabTargeted(norm=norm, eps=eps, attempts=target_count(num_classes)),
    "square": lambda norm, eps, num_classes: Square(norm=norm, eps=eps, queries=SQUARE_QUERIES),
}


def autoattack(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor:
    """Run ``params["version"]``'s stages. Shapes as in :class:`attacks.registry.Attack`."""
    batch_size = int(spec.params["batch_size"])
    samples = Samples(inputs, labels, rng.keys(), _ranking(model, inputs, batch_size))
    adversarial, standing = inputs.clone(), torch.arange(len(inputs), device=inputs.device)
    for stage in STAGES[str(spec.params["version"])]:
        if not len(standing):
            break
        search = BUILD[stage](spec.norm, spec.eps, samples.ranking.shape[1])
        found = hunt(search, model, take(samples, standing), batch_size=batch_size)
        adversarial[standing[found.broken]] = found.adversarial[found.broken]
        standing = standing[~found.broken]
    return adversarial


def _ranking(model: nn.Module, inputs: Tensor, batch_size: int) -> Tensor:
    """The classes of every clean image by falling logit, (N, K). Stable: among equals the first is first."""
    with torch.no_grad():
        logits = torch.cat([model(part) for part in inputs.split(batch_size)])
    return logits.argsort(dim=1, descending=True, stable=True)
