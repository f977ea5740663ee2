"""Make the plan of a request: the specs of all trainings and cells. Pure functions without file access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.attacks.registry import ATTACKS, BUILTIN, ResolvedAttack, entry_of
from bench.core.errors import BenchError
from bench.core.specs import (
    AttackSpec,
    CorruptionSpec,
    DataSpec,
    EvalSpec,
    ModelSpec,
    Norm,
    Precision,
    Recipe,
    TrainSpec,
    VariantSpec,
)
from bench.core.vocabulary import STANDARD
from bench.core.words import join

DEFAULT_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request of the user, with all names resolved to specs."""

    models: Sequence[ModelSpec]
    variants: Mapping[str, VariantSpec]
    attacks: Sequence[ResolvedAttack]
    norm: Norm
    eps: Sequence[float]
    seeds: Sequence[int]
    data: DataSpec
    test_sha: str
    test_size: int
    recipe: Recipe
    test_sampling: int = 1  # version of the sampling of a limited number of test images
    corruptions: Sequence[CorruptionSpec] = ()
    limit: int | None = None
    costly_limit: int | None = None
    attack_limits: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = DEFAULT_BATCH
    protocol: str = STANDARD
    max_queries: int | None = None  # maximum number of forward passes per image
    plugin_sha: str = ""
    eps_texts: Mapping[tuple[Norm, float], str] = field(default_factory=dict)  # budgets as the user wrote them
    precisions: Mapping[str, Precision] = field(default_factory=dict)  # by model; replaces that of the recipe
    epochs: Mapping[str, int] = field(default_factory=dict)  # by model; replaces that of the recipe


@dataclass(frozen=True)
class RunPlan:
    """One training and its cells. The clean cell is first. Filters precede the cells that they filter."""

    train: TrainSpec
    cells: tuple[EvalSpec, ...]


def make_plan(request: Request) -> tuple[RunPlan, ...]:
    """Return one RunPlan per model × variant × seed, in that order. Raises BenchError for an invalid combination."""
    check_request(request)
    for name in ("models", "variants", "seeds"):
        if not getattr(request, name):
            raise BenchError(f"nothing to do: no {name} given; set --{name}.")
    return tuple(
        _run_plan(request, model, variant, seed)
        for model in request.models
        for variant in request.variants
        for seed in request.seeds
    )


def check_request(request: Request) -> None:
    """Raise BenchError for attacks without a budget, and for an --attack-limit of an attack that is not requested."""
    if request.attacks and not request.eps:
        raise BenchError("no eps given for the attacks; use --eps, for example --eps 8/255.")
    unknown = set(request.attack_limits) - {attack.name for attack in request.attacks}
    if unknown:
        names = ", ".join(attack.name for attack in request.attacks) or "none"
        raise BenchError(f"--attack-limit names {sorted(unknown)[0]!r}, which is not among the attacks: {names}.")


def _run_plan(request: Request, model: ModelSpec, variant: str, seed: int) -> RunPlan:
    train = train_spec(request, model, variant, seed)
    return RunPlan(train, plan_cells(request, train.run_id, seed))


def train_spec(request: Request, model: ModelSpec, variant: str, seed: int) -> TrainSpec:
    """Return the spec of one training of ``request``."""
    return TrainSpec(
        data=request.data,
        model=model,
        variant=variant,
        variant_spec=request.variants[variant],
        recipe=recipe_of(request, model),
        seed=seed,
    )


def recipe_of(request: Request, model: ModelSpec) -> Recipe:
    """Return the recipe of the trainings of ``model``, with what trials chose for it."""
    return replace(
        request.recipe,
        precision=request.precisions.get(model.name, request.recipe.precision),
        epochs=request.epochs.get(model.name, request.recipe.epochs),
    )


def plan_cells(request: Request, run_id: str, seed: int) -> tuple[EvalSpec, ...]:
    """Return the cells of one run: the clean cell, then all corruptions, then all attacks at each eps."""
    limit = _effective(request.limit, request.test_size)
    clean = EvalSpec(
        run_id=run_id,
        data_sha=request.test_sha,
        attack=None,
        protocol=STANDARD,
        limit=limit,
        batch_size=request.batch_size,
        seed=seed,
        sampling=_sampling(request, limit),
    )
    cells = [clean, *(replace(clean, corruption=corruption) for corruption in request.corruptions)]
    for eps in request.eps:
        at_this_eps: list[EvalSpec] = []
        for attack in _cheap_first(request):
            at_this_eps.append(_attack_cell(request, clean, attack, eps, at_this_eps))
        cells.extend(at_this_eps)
    return tuple(cells)


def _cheap_first(request: Request) -> list[ResolvedAttack]:
    """Sort the attacks so that cheap attacks, which can be filters, precede costly attacks.

    Raises BenchError for the prefiltered protocol without a costly attack.
    """
    attacks = sorted(request.attacks, key=lambda attack: attack.costly(request.data.num_classes))
    if request.protocol == "prefiltered" and not (attacks and attacks[-1].costly(request.data.num_classes)):
        raise BenchError(
            "--protocol prefiltered applies to costly attacks such as autoattack, but none is requested; add one to "
            "--attacks, or use --protocol standard."
        )
    return attacks


def _attack_cell(
    request: Request, clean: EvalSpec, attack: ResolvedAttack, eps: float, earlier: Sequence[EvalSpec]
) -> EvalSpec:
    limit = _attack_limit(request, attack)
    cell = replace(
        clean,
        attack=attack.spec(
            request.norm,
            eps,
            batch_size=request.batch_size,
            code_sha="" if attack.origin == BUILTIN else request.plugin_sha,
            max_queries=request.max_queries,
        ),
        limit=limit,
        sampling=_sampling(request, limit),
    )
    if request.protocol == "prefiltered" and attack.costly(request.data.num_classes):
        filters = tuple(e.cell_id for e in earlier if e.attack and _filters(e.attack))
        if not filters:
            filter_names = join([name for name in ATTACKS if ATTACKS.get(name).filters], "or")
            raise BenchError(f"--protocol prefiltered needs a filter; add {filter_names} to --attacks.")
        return replace(cell, protocol="prefiltered", filters=filters)
    return cell


def _filters(attack: AttackSpec) -> bool:
    entry = entry_of(attack)
    return entry is not None and entry.filters


def _attack_limit(request: Request, attack: ResolvedAttack) -> int | None:
    if attack.name in request.attack_limits:
        return _effective(request.attack_limits[attack.name], request.test_size)
    limits = [request.limit, request.costly_limit if attack.costly(request.data.num_classes) else None]
    given_limits = [limit for limit in limits if limit is not None]
    return _effective(min(given_limits), request.test_size) if given_limits else None


def _sampling(request: Request, limit: int | None) -> int:
    return 1 if limit is None else request.test_sampling


def _effective(limit: int | None, available: int) -> int | None:
    """Return the limit; None if all images are ``available``, so that equal sets of images give equal cell ids."""
    return None if limit is None or limit >= available else limit
