"""AutoAttack, Croce and Hein 2020 (arXiv 2003.01690): four attacks one after the other, each on what is still standing.

The stages are searches over an active set (:mod:`bench.attacks.active`): the verdict is that of the published ensemble,
the work is done only on images that are not yet broken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.active import hunt
from bench.attacks.apgd import Apgd
from bench.attacks.apgd_l1 import ApgdL1
from bench.attacks.ensemble import Budget, lacks_dlr, stages_of, target_count
from bench.attacks.fab import TargetedFab, UntargetedFab
from bench.attacks.gradients import logits_at
from bench.attacks.objectives import Objective
from bench.attacks.queries import Attacked, allowance_of, outcome
from bench.attacks.registry import batch_size_of
from bench.attacks.rng import SampleRng
from bench.attacks.search import Samples, Search, take
from bench.attacks.square import Square
from bench.core.specs import AttackSpec, Norm
from bench.runtime.torch_state import harness_torch_state


def build(stage: str, budget: Budget, norm: Norm, eps: float, num_classes: int) -> Search:
    """The search of one stage. The untargeted ones start as often as the budget says."""
    targets, restarts = target_count(num_classes), budget.restarts
    starts, apgd_targets = budget.apgd_starts, target_count(num_classes, budget.apgd_targets)
    apgd: Callable[..., Search] = partial(Apgd, norm=norm, eps=eps, steps=budget.iterations)
    if norm == "l1":
        apgd = partial(ApgdL1, eps=eps, steps=budget.iterations)
    match stage:
        case "apgd-ce":
            return apgd(objective="ce", attempts=starts)
        case "apgd-dlr":
            return apgd(objective="margin" if lacks_dlr(stage, num_classes) else "dlr", attempts=starts)
        case "apgd-t":
            objective: Objective = "margin-targeted" if lacks_dlr(stage, num_classes) else "dlr-targeted"
            return apgd(objective=objective, attempts=apgd_targets)
        case "fab":
            return UntargetedFab(norm=norm, eps=eps, n_iter=budget.iterations, attempts=restarts)
        case "fab-t":
            return TargetedFab(norm=norm, eps=eps, n_iter=budget.iterations, attempts=targets)
        case "square":
            return Square(norm=norm, eps=eps, queries=budget.queries)
    raise ValueError(f"no stage of AutoAttack is called {stage!r}.")


@harness_torch_state()
def autoattack(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng
) -> Tensor | Attacked:
    """Run the stages that ``params`` name (:mod:`bench.attacks.ensemble`).

    Shapes as in :class:`bench.attacks.registry.Attack`.
    """
    batch_size = batch_size_of(spec)
    samples = Samples(inputs, labels, rng.keys(), _ranking(model, inputs, batch_size))
    adversarial, standing = inputs.clone(), torch.arange(len(inputs), device=inputs.device)
    allowance, cut = allowance_of(spec, labels, spent=1), torch.zeros_like(labels, dtype=torch.bool)  # the ranking
    budget = Budget.of(spec.params)
    for stage in stages_of(spec.params):
        if not len(standing):
            break
        search = build(stage, budget, spec.norm, spec.eps, samples.ranking.shape[1])
        left = None if allowance is None else allowance[standing]
        found = hunt(search, model, take(samples, standing), batch_size=batch_size, allowance=left)
        if allowance is not None:
            allowance[standing] -= found.asked
        cut[standing] = found.cut
        adversarial[standing[found.broken]] = found.adversarial[found.broken]
        standing, batch_size = standing[~found.broken], found.batch_size
    return outcome(allowance, adversarial, cut)


def _ranking(model: nn.Module, inputs: Tensor, batch_size: int) -> Tensor:
    """The classes of every clean image by falling logit, (N, K). Stable: among equals the first is first."""
    with torch.no_grad():
        logits = torch.cat([logits_at(model, part) for part in inputs.split(batch_size)])
    return logits.argsort(dim=1, descending=True, stable=True)
