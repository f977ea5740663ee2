"""Resolve the configuration of a run to specs, and select the precision of the attacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.attacks.corruptions.registry import resolve_kinds
from bench.attacks.registry import ResolvedAttack, resolve, resolve_all
from bench.config import ChosenPrecision, MeasureConfig, RunConfig
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.limits import CHECKPOINT
from bench.core.number_text import is_whole
from bench.core.registry import is_pattern
from bench.core.specs import CorruptionSpec, DataSpec, Fitting, ModelSpec, Norm, Precision, Recipe, VariantSpec
from bench.core.words import join
from bench.data import load_dataset
from bench.data.corrupted.choose import choose_corruptions
from bench.data.corrupted.open import identified
from bench.data.registry import DATASETS, DataRequest, DatasetEntry
from bench.data.sampling import sampling_version
from bench.data.split import MOMENT_IMAGES, Dataset
from bench.models.registry import MODELS, check_model_name, expand_models, pretrained_moments
from bench.models.variant_registry import canonical_name
from bench.models.variants import ORIGIN as BUILTIN_VARIANTS
from bench.models.variants import VARIANTS
from bench.planning.plan import DEFAULT_BATCH, Request, check_request
from bench.planning.recipes import find_recipe, resolve_budgets, resolve_variants
from bench.runtime.files import file_sha
from bench.runtime.plugin import is_of_plugin, plugin_sha


def at_precision(attacks: Sequence[ResolvedAttack], requested: ChosenPrecision, device: str) -> list[ResolvedAttack]:
    """Return the attacks with their precision, which is a part of the spec of a cell.

    ``auto`` selects bf16 if the attack and the hardware of ``device`` support it, and otherwise fp32. Raises BenchError
    for an attack that does not support the requested precision. Imports torch for ``auto``.
    """
    if requested != "auto":
        return [attack.at(requested) for attack in attacks]
    supported = _best(device)
    return [attack.at(supported if supported in attack.entry.precisions else "fp32") for attack in attacks]


def _best(device: str) -> Precision:
    from bench.runtime.environment import choose_device, has_bfloat16

    return "bf16" if has_bfloat16(choose_device(device)) else "fp32"


FEWEST_TRAINING = 2  # minimum number of training images


def make_request(
    config: MeasureConfig,
    *,
    dataset: Dataset | None = None,
    seeds: Sequence[int] = (),
    known_models: Collection[str] = (),
    default_fitting: Fitting | None = None,
) -> tuple[Request, Dataset]:
    """Resolve all names in ``config`` and read the index of the data set.

    All names are checked before the data set is read, so that a misspelled name is reported before files are hashed.

    Args:
        config: Configuration of the run or evaluation.
        dataset: Data set to use instead of ``config.dataset``.
        seeds: Seeds of networks that were trained elsewhere.
        known_models: Names of models that are not looked up, because the look-up imports timm.
        default_fitting: Fitting of the images of an image folder, see :class:`DataRequest`.

    Raises:
        BenchError: For the first invalid value.
    """
    name = dataset.name if dataset else config.dataset
    entry = DATASETS.get(name) if dataset is None or name in DATASETS else None
    attacks = resolve_all(list(config.attacks), config.attack_backend, config.norm)
    attacks = at_precision(attacks, config.attack_precision, config.device)
    texts = config.eps or (entry.eps.get(config.norm, ()) if entry else ())
    eps = [parse_eps(text, config.norm) for text in texts]
    training = _Training.of(config, entry, known_models) if isinstance(config, RunConfig) and entry else None
    attack_limits = _attack_limits(config.attack_limit)
    limit = entry.limit if config.limit is None and entry else _number(config.limit)
    resolve_kinds(config.corruptions)
    data = dataset or load_dataset(config.dataset, _data_request(config, default_fitting))
    request = Request(
        models=training.models if training else (),
        variants=training.variants if training else {},
        attacks=attacks,
        norm=config.norm,
        eps=list(dict.fromkeys(eps)),
        seeds=training.seeds if training else seeds,
        data=_data_spec(data, config),
        test_sha=data.test.sha,
        test_size=len(data.test),
        test_sampling=sampling_version(data.test.labels),
        recipe=training.recipe if training else Recipe(epochs=0),
        corruptions=_corruptions(config, data, limit),
        limit=limit,
        costly_limit=entry.costly_limit if entry else None,
        attack_limits=attack_limits,
        batch_size=DEFAULT_BATCH if config.batch_size == "auto" else config.batch_size,
        protocol=config.protocol,
        max_queries=config.max_queries,
        plugin_sha=plugin_sha(),
        eps_texts={(config.norm, value): text.strip() for value, text in zip(eps, texts, strict=True)},
    )
    check_request(request)
    return request, data


@dataclass(frozen=True)
class _Training:
    """Part of a request that concerns training."""

    models: Sequence[ModelSpec]
    variants: Mapping[str, VariantSpec]
    seeds: Sequence[int]
    recipe: Recipe

    @classmethod
    def of(cls, config: RunConfig, entry: DatasetEntry, known_models: Collection[str]) -> _Training:
        """Resolve models, variants, seeds and recipe of ``config``. Raises BenchError for an invalid value."""
        recipe = find_recipe(config.recipe, config.dataset)
        models = _models(config, known_models)
        variants = resolve_variants(_variants(config.variants), recipe, config.latent_dim)
        variants = train_budgets(variants, config.train_eps, entry)
        seeds = [_seed(text) for text in config.seeds]
        settings = _recipe(recipe.recipe or entry.recipe, config)
        if recipe.flips_of_data_set:
            settings = dataclasses.replace(settings, horizontal_flip=entry.recipe.horizontal_flip)
        if recipe.lr_schedule is not None:
            settings = dataclasses.replace(settings, lr_schedule=recipe.lr_schedule)
        _check_weight_decays(variants, settings)
        variants = {name: _with_code_of_parts(spec, settings) for name, spec in variants.items()}
        return cls(models, variants, seeds, settings)


def _check_weight_decays(variants: Mapping[str, VariantSpec], recipe: Recipe) -> None:
    """Raise BenchError for a variant with its own weight decay, which is AdamW's, if the recipe uses SGD."""
    name = next((name for name, spec in variants.items() if spec.weight_decay is not None), None)
    if name is not None and recipe.optimizer != "adamw":
        raise BenchError(
            f"variant {name!r} has a weight decay for AdamW, with which {recipe.optimizer} does not learn; choose a "
            "recipe with AdamW, such as --recipe auto."
        )


def _data_request(config: MeasureConfig, default_fitting: Fitting | None) -> DataRequest:
    return DataRequest(
        config.data_dir, config.image_size, class_order=config.class_order, default_fitting=default_fitting
    )


def _corruptions(config: MeasureConfig, dataset: Dataset, limit: int | None) -> list[CorruptionSpec]:
    chosen = choose_corruptions(
        config.corruptions,
        config.severities,
        side=dataset.image_size,
        profile=config.corruption_profile,
        corruptions_dir=config.corruptions_dir,
    )
    return identified(chosen, dataset, config.corruptions_dir, limit=limit)


def _models(config: RunConfig, known: Collection[str]) -> list[ModelSpec]:
    names = [n for name in config.models for n in (expand_models(name) if is_pattern(name) else [name])]
    for name in set(names) - set(known):
        check_model_name(name)
    checkpoint = file_sha(config.checkpoint_path, CHECKPOINT) if config.checkpoint_path else None
    models = [_model(name, pretrained=config.pretrained, checkpoint=checkpoint) for name in dict.fromkeys(names)]
    return [_with_stem(model, config.stem) for model in models]


def _with_stem(model: ModelSpec, stem: Literal["native", "small"] | None) -> ModelSpec:
    if stem is not None and (model.pretrained or model.checkpoint_sha is not None):
        raise BenchError("--stem is for random weights; the stem of loaded weights is read from them.")
    if stem is not None and model.name in MODELS:
        raise BenchError(f"model {model.name!r} was registered by a plug-in, which builds its stem; leave --stem out.")
    return dataclasses.replace(model, stem=stem)


def _model(name: str, *, pretrained: bool, checkpoint: str | None) -> ModelSpec:
    """Return the spec of a model. Pretrained weights of a timm architecture use the normalisation declared by timm."""
    timm_weights = (pretrained or checkpoint is not None) and name not in MODELS
    mean, std = pretrained_moments(name) if timm_weights else (None, None)
    code = plugin_sha() if name in MODELS else ""
    return ModelSpec(name=name, pretrained=pretrained, checkpoint_sha=checkpoint, code_sha=code, mean=mean, std=std)


def _variants(patterns: Sequence[str]) -> Mapping[str, VariantSpec]:
    requested = ["*" if pattern == "all" else pattern for pattern in patterns]
    names = [n for pattern in requested for n in (VARIANTS.expand(pattern) if is_pattern(pattern) else [pattern])]
    found = {canonical_name(name): VARIANTS.get(name).spec for name in names}
    for name, spec in found.items():
        if spec.training_step != VariantSpec().training_step:
            _check_step(name, spec)
    return {name: _with_code(name, spec) for name, spec in found.items()}


def _check_step(name: str, spec: VariantSpec) -> None:
    """Check a training step of its own. Imports torch."""
    from bench.models.training_steps import check_step

    check_step(name, spec)


def _with_code(name: str, spec: VariantSpec) -> VariantSpec:
    """Return the spec of a variant. For a plug-in variant, add the hash of the plug-in code."""
    return spec if VARIANTS.origin(name) == BUILTIN_VARIANTS else dataclasses.replace(spec, code_sha=plugin_sha())


def _with_code_of_parts(spec: VariantSpec, recipe: Recipe) -> VariantSpec:
    """Return the spec of a variant, with the hash of the plug-in code if a plug-in registered a part that it uses.

    A recipe of a plug-in can bring such a part to a built-in variant.
    """
    parts = {
        "head": spec.head,
        "criterion": spec.criterion,
        "penalty": spec.penalty,
        "schedule": spec.schedule,
        "term": spec.term,
        "training step": spec.training_step,
        "learning-rate schedule": recipe.lr_schedule,
    }
    by_plugin = any(name is not None and is_of_plugin(kind, name) for kind, name in parts.items())
    return dataclasses.replace(spec, code_sha=plugin_sha()) if by_plugin else spec


def train_budgets(
    variants: Mapping[str, VariantSpec], train_eps: str | None, entry: DatasetEntry
) -> dict[str, VariantSpec]:
    """Set the budget of adversarial training: ``train_eps``, or the largest one of its norm that the data set declares.

    The default is the published budget for MNIST (0.3) and CIFAR-10 (8/255 in Linf, 0.5 in L2). It is at least as large
    as every budget of the default evaluation. The budgets of the evaluation (--eps, --norm) have no influence on the
    training. Raises BenchError if ``train_eps`` is given for variants with different norms.
    """
    norms = {spec.adversary.norm: name for name, spec in variants.items() if spec.adversary is not None}
    if train_eps is not None and len(norms) > 1:
        shown = join([f"{norm} ({name})" for norm, name in norms.items()], "and")
        raise BenchError(
            f"--train-eps {train_eps!r} is one budget, and the requested variants are trained in {shown}; train them "
            "in one run per norm, or leave --train-eps out."
        )
    requested = None if train_eps is None else parse_eps(train_eps, next(iter(norms), "linf"))
    known: tuple[Norm, ...] = get_args(Norm)
    defaults = {n: max((parse_eps(text, n) for text in entry.eps.get(n, ())), default=None) for n in known}
    return resolve_budgets(variants, requested=requested, defaults=defaults)


def _seed(text: str) -> int:
    if not is_whole(text):
        raise BenchError(f"seed {text!r} is not a whole number from 0 to 2^63 − 1; write --seeds 0,1,2.")
    return int(text)


def _attack_limits(texts: Sequence[str]) -> dict[str, int]:
    """Return the number of images of each attack. Raises BenchError for two different numbers of one attack."""
    limits: dict[str, int] = {}
    for name, number in map(_attack_limit, texts):
        if limits.setdefault(name, number) != number:
            raise BenchError(f"--attack-limit gives {limits[name]} and {number} images for {name}; give one of them.")
    return limits


def _attack_limit(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")  # the name of a library's attack may contain the sign
    if not separator or not is_whole(number) or int(number) < 1:
        raise BenchError(f"--attack-limit {text!r} is invalid; write <attack>=<images>, for example autoattack=1000.")
    return resolve(name).name, int(number)


def _number(limit: int | Literal["all"] | None) -> int | None:
    return None if limit == "all" else limit


def _data_spec(dataset: Dataset, config: MeasureConfig) -> DataSpec:
    """Return the spec of the training data. It has no limit for networks that were trained elsewhere.

    --limit is for quick tests. It also limits the training images unless --train-limit is given.
    """
    complete = DataSpec(
        name=dataset.name,
        train_sha=dataset.train.sha,
        num_classes=dataset.num_classes,
        image_size=dataset.image_size,
    )
    if not isinstance(config, RunConfig):
        return complete
    if not len(dataset.train):
        raise BenchError(
            f"{dataset.name} has no training images; add some, or evaluate a model that was trained elsewhere."
        )
    limit = _number(config.train_limit if config.train_limit is not None else config.limit)
    if limit is not None and limit < FEWEST_TRAINING:
        raise BenchError(
            f"{limit} training image is too few for batch norm; use --train-limit {FEWEST_TRAINING} or more."
        )
    limited = limit is not None and limit < len(dataset.train)
    sampled = limited or (dataset.published is None and len(dataset.train) > MOMENT_IMAGES)
    return dataclasses.replace(
        complete,
        train_limit=limit if limited else None,
        sampling=sampling_version(dataset.train.labels) if sampled else 1,
    )


def _recipe(recipe: Recipe, config: RunConfig) -> Recipe:
    return dataclasses.replace(
        recipe,
        epochs=recipe.epochs if config.epochs is None else config.epochs,
        lr=config.lr or recipe.lr,
        batch_size=config.train_batch_size or recipe.batch_size,
        precision=recipe.precision if config.train_precision == "auto" else config.train_precision,
        ema=recipe.ema if config.ema is None else config.ema + 0.0,  # 0.0 for -0.0, which would have another id
    )
