"""AutoAttack, Croce and Hein 2020 (arXiv 2003.01690): four attacks one after the other, each on the remaining images.

The stages are searches (:mod:`bench.attacks.engine.run_search`). The verdict is the same as for the published ensemble,
and only images that are not yet adversarial cost passes.
"""

from __future__ import annotations

from torch import Tensor, nn

from bench.attacks.apgd_attack import build_apgd
from bench.attacks.engine.attack_call import DEFAULT_BATCH, Ids, attack_call
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.search import Search
from bench.attacks.ensemble import (
    CUSTOM_STAGES,
    ITERATIONS,
    L1_PARAMS,
    ROBUST,
    SQUARE_QUERIES,
    STAGES,
    Budget,
    explain,
    stages_of,
    target_count,
)
from bench.attacks.fab_attack import TargetedFab, UntargetedFab
from bench.attacks.margin_attack import ProbabilityMargin
from bench.attacks.relaxation_attack import build_cr
from bench.attacks.square_attack import Square
from bench.core.errors import BenchError
from bench.core.specs import Norm, Scalar


def build(stage: str, budget: Budget, norm: Norm, eps: float, num_classes: int) -> Search:
    """Build the search of one stage with the steps, starts and target classes of ``budget``.

    Raises ValueError for an unknown stage.
    """
    steps, starts = budget.iterations, budget.apgd_starts
    match stage:
        case "apgd-ce":
            return build_apgd("ce", norm, eps, num_classes, steps=steps, attempts=starts)
        case "apgd-dlr":
            return build_apgd("dlr", norm, eps, num_classes, steps=steps, attempts=starts)
        case "apgd-t":
            targets = target_count(num_classes, budget.apgd_targets)
            return build_apgd("dlr-targeted", norm, eps, num_classes, steps=steps, attempts=targets)
        case "fab":
            return UntargetedFab(norm=norm, eps=eps, n_iter=steps, attempts=budget.restarts)
        case "fab-t":
            return TargetedFab(norm=norm, eps=eps, n_iter=steps, attempts=target_count(num_classes))
        case "square":
            return Square(norm=norm, eps=eps, queries=budget.queries)
        case "cr":
            return build_cr(norm, eps, num_classes)
        case "pma":
            return ProbabilityMargin(norm=norm, eps=eps)
    raise ValueError(f"no stage of AutoAttack is called {stage!r}.")


def autoattack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    version: str = "standard",
    steps: int | None = None,
    queries: int | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
) -> Tensor:
    """Attack by AutoAttack (Croce and Hein 2020, arXiv 2003.01690), parameter-free as published.

    Run APGD-CE, targeted APGD-DLR, targeted FAB and Square, each on the images for which the earlier stages found no
    adversarial image. The attack cannot be targeted.

    Args:
        model: Maps images to logits (N, K). Its mode and weights are not changed.
        inputs: Images (N, C, H, W) in [0, 1], float32 or float64.
        labels: Classes (N,), integers in 0…K−1.
        norm: "linf", "l2" or "l1".
        eps: Radius of the ball, in units of [0, 1] pixels.
        version: "standard", "plus", "robust", "robust-fast", or stages joined by plus signs, such as "apgd-ce+square".
        steps: Steps of APGD and FAB, 100 by default.
        queries: Queries of Square, 5000 by default.
        rng: Seed of the random draws, or a SampleRng.
        ids: Names of the images, on which the random draws depend; 0…N−1 by default.
        batch_size: Images per batch. Does not change the result.
        query_budget: Maximum number of forward passes per image.

    Returns:
        Images (N, C, H, W) in the ball and in [0, 1]. The clean image if no adversarial image was found.

    Raises:
        BenchError: If an argument is invalid.

    For a linear model the distance to the decision boundary is margin/‖w‖₁:

    >>> import torch
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]]))
    >>> x = torch.full((1, 3, 1, 1), 0.5)  # logits (0, 1), ‖w‖₁ = 4
    >>> y, few = torch.tensor([1]), {"steps": 9, "queries": 99}
    >>> [int(model(autoattack(model, x, y, eps=eps, **few)).argmax()) for eps in (0.24, 0.26)]
    [1, 0]
    """
    params: dict[str, Scalar] = {"version": version, "iterations": ITERATIONS if steps is None else steps}
    params |= {"queries": SQUARE_QUERIES if queries is None else queries, **(L1_PARAMS if norm == "l1" else {})}
    stages, budget = stages_of(params), Budget.of(params)
    if version in ROBUST and isinstance(rng, SampleRng):  # its stages break the images that those of autoattack break
        rng = SampleRng(rng.seed, "autoattack", rng.sample_ids, rng.device)
    if version not in STAGES and (len(stages) != len(set(stages)) or not set(stages) <= set(CUSTOM_STAGES)):
        raise BenchError(f"autoattack has no version {version!r}. {explain(f'autoattack-{version}')}")
    with attack_call(
        "autoattack", model, inputs, labels, norm=norm, eps=eps, rng=rng, ids=ids, batch_size=batch_size,
        query_budget=query_budget, counts={"steps": budget.iterations, "queries": budget.queries},
    ) as call:  # fmt: skip
        if not len(inputs):
            return inputs.clone()
        num_classes = call.ranking.shape[1]
        searches = [build(stage, budget, norm, eps, num_classes) for stage in stages]
        return call.run(*searches, ranked=True, stages=stages)
