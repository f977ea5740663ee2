"""Call an attack function with the arguments given by the spec of a cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.attacks.engine.attack_call import DEFAULT_BATCH
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query_budget import AttackResult, QueryBudget
from bench.attacks.registry import AttackEntry, load_function
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import AttackSpec, Scalar

#: Parameters of a spec that are not parameters of the attack.
HARNESS_PARAMS = ("batch_size", "library_version", "max_queries")


def call_attack(
    entry: AttackEntry, model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng
) -> AttackResult:
    """Attack ``inputs``, (N, C, H, W), with the parameters in ``spec``. ``entry`` is the registry entry of the attack.

    ``labels`` are (N,), int64. Raises CellFailure("attack_error") if the attack does not report which searches the
    query budget ended, and if it calls sys.exit. A BenchError from the attack of a plug-in also becomes a CellFailure,
    so that other cells continue.
    """
    arguments: dict[str, Any] = keyword_arguments(entry, spec)
    budget = None if spec.max_queries is None else QueryBudget(spec.max_queries)
    if budget is not None:
        arguments["query_budget"] = budget
    try:
        adversarials = load_function(entry)(model, inputs, labels, norm=spec.norm, eps=spec.eps, rng=rng, **arguments)
    except BenchError as error:
        if not spec.code_sha:
            raise
        raise CellFailure("attack_error", str(error)) from error
    except SystemExit as error:
        raise CellFailure("attack_error", f"{spec.name} called sys.exit({error.code!r}).") from error
    if budget is None:
        return AttackResult(adversarials, None)
    if budget.truncated is None:
        raise CellFailure("attack_error", f"{spec.name} did not report which images max_queries stopped.")
    _check_mask(budget.truncated, labels, spec.name)
    return AttackResult(adversarials, budget.truncated)


def _check_mask(truncated: object, labels: Tensor, attack: str) -> None:
    """Raise CellFailure unless ``truncated`` has one bool per image."""
    shape = tuple(truncated.shape) if isinstance(truncated, Tensor) else ()
    kind = truncated.dtype if isinstance(truncated, Tensor) else type(truncated).__name__
    if shape != tuple(labels.shape) or kind != torch.bool:
        raise CellFailure(
            "attack_error",
            f"{attack} reported the images that max_queries stopped as {kind} {shape}; report bool {(len(labels),)}.",
        )


def keyword_arguments(entry: AttackEntry, spec: AttackSpec) -> dict[str, Scalar]:
    """Return the keyword arguments of the attack, and the batch size if the attack batches itself."""
    params = {name: value for name, value in spec.params.items() if name not in HARNESS_PARAMS}
    arguments = dict(entry.arguments(params) if entry.arguments else params)
    if entry.batches_itself:
        arguments["batch_size"] = int(spec.params.get("batch_size", DEFAULT_BATCH))
    return arguments
