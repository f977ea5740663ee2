"""AutoAttack, Croce and Hein 2020 (arXiv 2003.01690), through its authors' code as packaged in ``pyautoattack``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyautoattack
import torch
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.untouched import untouched
from bench.attacks.ensemble import ITERATIONS, Budget, lacks_dlr, stages_of, target_count
from bench.core.specs import Norm, Scalar
from bench.runtime.torch_state import harness_torch_state

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@harness_torch_state()
def autoattack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    eps: float,
    rng: SampleRng,
    batch_size: int,
    **params: Scalar,
) -> Tensor:
    """Run the stages named by ``params`` (:mod:`bench.attacks.ensemble`), each on the remaining images.

    The library seeds the global generator of torch for every batch of every stage. The state of the generator is
    restored. The resume file is never used, because the library cannot read it. Shapes are as in
    :class:`bench.attacks.registry.Attack`.
    """
    inputs = inputs.detach()
    with untouched(model), torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        with torch.no_grad():
            num_classes = model(inputs[:1]).shape[1]
        ensemble = _build(model, inputs.device, num_classes, norm, eps, params, seed=rng.library_seed())
        adversarials, _ = ensemble.run_standard_evaluation(inputs, labels, batch_size=min(batch_size, len(inputs)))
    result: Tensor = adversarials.detach()
    return result


def _build(
    model: nn.Module,
    device: torch.device,
    num_classes: int,
    norm: Norm,
    eps: float,
    params: Mapping[str, Scalar],
    *,
    seed: int,
) -> Any:
    version = str(params["version"])
    custom = version not in ("standard", "plus", "rand")
    ensemble: Any = pyautoattack.AutoAttack(
        model,
        norm=_NORMS[norm],
        eps=eps,
        seed=seed,
        device=str(device),
        version="custom" if custom else version,
        attacks=list(stages_of(params)) if custom else None,
    )
    if custom:
        _limit(ensemble, Budget.of(params))
    ensemble.apgd_targeted.n_target_classes = target_count(num_classes, Budget.of(params).apgd_targets)
    ensemble.fab.n_target_classes = target_count(num_classes)
    if lacks_dlr("apgd-t", num_classes):
        ensemble.apgd_targeted.dlr_loss_targeted = lambda z, y: _targeted_margin(z, y, ensemble.apgd_targeted.y_target)
    if lacks_dlr("apgd-dlr", num_classes):
        ensemble.apgd.dlr_loss = _margin
    return ensemble


def _limit(ensemble: Any, budget: Budget) -> None:
    """Set the numbers of ``budget``, which the library does not accept as arguments.

    Auto-PGD derives its checkpoints in its constructor, so that the constructor is called again.
    """
    ensemble.apgd.n_restarts, ensemble.fab.n_restarts = budget.apgd_starts, budget.restarts
    ensemble.apgd.use_largereps = ensemble.apgd_targeted.use_largereps = budget.phases > 1
    ensemble.square.n_queries = budget.queries
    ensemble.fab.n_iter = budget.iterations
    if budget.iterations != ITERATIONS:
        for attack in (ensemble.apgd, ensemble.apgd_targeted):
            type(attack).__init__(
                attack,
                attack.model,
                n_iter=budget.iterations,
                norm=attack.norm,
                n_restarts=attack.n_restarts,
                eps=attack.eps,
                seed=attack.seed,
                device=attack.device,
                use_largereps=attack.use_largereps,
                logger=attack.logger,
            )


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max_{j≠y} z_j − z_y, (N,): positive if the image is misclassified."""
    rivals = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
    return rivals - logits.gather(1, labels[:, None]).squeeze(1)


def _targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return z_t − z_y, (N,): positive if the logit of the target exceeds the logit of the label."""
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)
