"""From the options of ``bench run`` to a request whose every name is resolved.

Floating-point type in which the attacks search: the one asked for, or the choice of ``auto`` on this machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.attacks.corruptions.registry import resolve_kinds
from bench.attacks.registry import ResolvedAttack, resolve, resolve_all
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.registry import is_pattern
from bench.core.specs import Backend, CorruptionSpec, DataSpec, Fitting, ModelSpec, Norm, Precision, Recipe, VariantSpec
from bench.core.vocabulary import NATIVE
from bench.data import load_dataset
from bench.data.corrupted.choose import choose_corruptions
from bench.data.corrupted.open import identified
from bench.data.registry import DATASETS, DataRequest, DatasetEntry
from bench.data.sampling import sampling_version
from bench.data.split import MOMENT_IMAGES, Dataset
from bench.models.registry import MODELS, check_model_name, expand_models, pretrained_moments
from bench.models.variants import ORIGIN as BUILTIN_VARIANTS
from bench.models.variants import VARIANTS
from bench.planning.plan import DEFAULT_BATCH, Request
from bench.planning.recipes import DEFAULT, find_recipe, resolve_budgets, resolve_variants
from bench.runtime.files import file_sha
from bench.runtime.plugin import plugin_sha

AskedPrecision = Literal["auto", "fp32", "bf16"]


def at_precision(attacks: Sequence[ResolvedAttack], asked: AskedPrecision, device: str) -> list[ResolvedAttack]:
    """The attacks with the type they search in, which is part of what a cell is: ``auto`` is settled here.

    It is bf16 for the attacks that can, where ``device`` has hardware for it. Raises BenchError for an attack that
    cannot do what was asked for by name. Imports torch for ``auto``.
    """
    if asked != "auto":
        return [attack.at(asked) for attack in attacks]
    best = _best(device)
    return [attack.at(best if best in attack.entry.precisions else "fp32") for attack in attacks]


def _best(device: str) -> Precision:
    from bench.runtime.environment import choose_device, has_bfloat16

    return "bf16" if has_bfloat16(choose_device(device)) else "fp32"


Limit = int | Literal["all"] | None
FEWEST_TRAINING = 2


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of ``bench run`` that say what to compute; None is the data set's own choice."""

    models: Sequence[str]
    variants: Sequence[str] = ("baseline", "lpc")
    dataset: str = "digits"
    data_dir: Path | None = None
    image_size: int | None = None
    default_fitting: Fitting | None = None  # of an image folder, see DataRequest
    class_order: str | None = None
    attacks: Sequence[str] = ("fgsm", "pgd", "autoattack")
    norm: Norm = "linf"
    eps: Sequence[str] = ()
    seeds: Sequence[str] = ("0",)
    recipe: str = DEFAULT
    latent_dim: int | None = None
    epochs: int | None = None
    lr: float | None = None
    train_batch_size: int | None = None
    train_eps: str | None = None
    train_precision: Precision = "fp32"
    limit: Limit = None
    train_limit: Limit = None
    attack_limit: Sequence[str] = ()
    attack_backend: Backend = NATIVE
    attack_precision: AskedPrecision = "fp32"
    protocol: str = "standard"
    max_queries: int | None = None
    batch_size: int | Literal["auto"] = "auto"
    corruptions: Sequence[str] = ("standard",)
    severities: Sequence[str] = ("1", "2", "3", "4", "5")
    corruption_profile: str | None = None
    corruptions_dir: Path | None = None
    pretrained: bool = False
    checkpoint_path: Path | None = None
    device: str = "auto"


def make_request(options: RunOptions, known_models: Collection[str] = ()) -> tuple[Request, Dataset]:
    """Resolve every name and read the data set's index. Raises BenchError for the first thing that is wrong.

    Names come before data: a typing error should not cost the time to hash sixty thousand files. ``known_models`` need
    no look-up, which would import timm.
    """
    entry = DATASETS.get(options.dataset)
    recipe = find_recipe(options.recipe, options.dataset)
    attacks = resolve_all(list(options.attacks), options.attack_backend, options.norm)
    attacks = at_precision(attacks, options.attack_precision, options.device)
    texts = options.eps or entry.eps.get(options.norm, ())
    eps = [parse_eps(text, options.norm) for text in texts]
    models = _models(options, known_models)
    variants = resolve_variants(_variants(options.variants), recipe, options.latent_dim)
    variants = train_budgets(variants, options.train_eps, entry)
    seeds = [_seed(text) for text in options.seeds]
    attack_limits = dict(_attack_limit(text) for text in options.attack_limit)
    limit = _number(entry.limit if options.limit is None else options.limit)
    resolve_kinds(options.corruptions)
    dataset = load_dataset(options.dataset, _data_request(options))
    request = Request(
        models=models,
        variants=variants,
        attacks=attacks,
        norm=options.norm,
        eps=list(dict.fromkeys(eps)),
        seeds=seeds,
        data=_data_spec(dataset, options),
        test_sha=dataset.test.sha,
        test_size=len(dataset.test),
        test_sampling=sampling_version(dataset.test.labels),
        recipe=_recipe(recipe.recipe or entry.recipe, options),
        corruptions=_corruptions(options, dataset, limit),
        limit=limit,
        costly_limit=entry.costly_limit,
        attack_limits=attack_limits,
        batch_size=DEFAULT_BATCH if options.batch_size == "auto" else options.batch_size,
        protocol=options.protocol,
        max_queries=options.max_queries,
        plugin_sha=plugin_sha(),
        eps_texts={(options.norm, value): text.strip() for value, text in zip(eps, texts, strict=True)},
    )
    return request, dataset


def _data_request(options: RunOptions) -> DataRequest:
    return DataRequest(
        options.data_dir,
        options.image_size,
        class_order=options.class_order,
        default_fitting=options.default_fitting,
    )


def _corruptions(options: RunOptions, dataset: Dataset, limit: int | None) -> list[CorruptionSpec]:
    chosen = choose_corruptions(
        options.corruptions,
        options.severities,
        side=dataset.image_size,
        profile=options.corruption_profile,
        corruptions_dir=options.corruptions_dir,
    )
    return identified(chosen, dataset, options.corruptions_dir, limit=limit)


def _models(options: RunOptions, known: Collection[str]) -> list[ModelSpec]:
    names = [n for name in options.models for n in (expand_models(name) if is_pattern(name) else [name])]
    for name in set(names) - set(known):
        check_model_name(name)
    checkpoint = file_sha(options.checkpoint_path) if options.checkpoint_path else None
    return [_model(name, pretrained=options.pretrained, checkpoint=checkpoint) for name in dict.fromkeys(names)]


def _model(name: str, *, pretrained: bool, checkpoint: str | None) -> ModelSpec:
    """Weights of timm's architectures that were trained elsewhere expect the normalisation that timm declares."""
    elsewhere = (pretrained or checkpoint is not None) and name not in MODELS
    mean, std = pretrained_moments(name) if elsewhere else (None, None)
    code = plugin_sha() if name in MODELS else ""
    return ModelSpec(name=name, pretrained=pretrained, checkpoint_sha=checkpoint, code_sha=code, mean=mean, std=std)


def _variants(patterns: Sequence[str]) -> Mapping[str, VariantSpec]:
    wanted = ["*" if pattern == "all" else pattern for pattern in patterns]
    names = [n for pattern in wanted for n in (VARIANTS.expand(pattern) if is_pattern(pattern) else [pattern])]
    return {name: _with_code(name, VARIANTS.get(name).spec) for name in names}


def _with_code(name: str, spec: VariantSpec) -> VariantSpec:
    """A plug-in's variant may use a plug-in's penalty or head: their code is part of what makes the weights."""
    return spec if VARIANTS.origin(name) == BUILTIN_VARIANTS else dataclasses.replace(spec, code_sha=plugin_sha())


def train_budgets(
    variants: Mapping[str, VariantSpec], train_eps: str | None, entry: DatasetEntry
) -> dict[str, VariantSpec]:
    """Set the Linf budget of adversarial training: by default the largest that the data set declares.

    It is the published one for MNIST (0.3) and CIFAR-10 (8/255), and covers every budget that is evaluated by default.
    The budgets of the evaluation (--eps, --norm) have no influence: they must not change the weights.
    """
    asked = None if train_eps is None else parse_eps(train_eps, "linf")
    declared = [parse_eps(text, "linf") for text in entry.eps.get("linf", ())]
    return resolve_budgets(variants, asked=asked, default=max(declared, default=None))


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise BenchError(f"seed {text!r} is not a whole number from 0 to 2^63 − 1; write --seeds 0,1,2.")
    return int(text)


def _attack_limit(text: str) -> tuple[str, int]:
    name, separator, number = text.partition("=")
    if not separator or not number.isdecimal() or int(number) < 1:
        raise BenchError(f"--attack-limit {text!r}: write <attack>=<images>, for example autoattack=1000.")
    return resolve(name).name, int(number)


def _number(limit: Limit) -> int | None:
    return None if limit == "all" else limit


def _data_spec(dataset: Dataset, options: RunOptions) -> DataSpec:
    """--limit is for quick looks, so it shortens the training too unless --train-limit says otherwise."""
    if not len(dataset.train):
        raise BenchError(f"{dataset.name} has no training images; give it some, or evaluate a model trained elsewhere.")
    wanted = _number(options.train_limit if options.train_limit is not None else options.limit)
    if wanted is not None and wanted < FEWEST_TRAINING:
        raise BenchError(
            f"{wanted} training image is too few for batch norm; use --train-limit {FEWEST_TRAINING} or more."
        )
    limited = wanted is not None and wanted < len(dataset.train)
    sampled = limited or (dataset.published is None and len(dataset.train) > MOMENT_IMAGES)
    return DataSpec(
        name=dataset.name,
        train_sha=dataset.train.sha,
        num_classes=dataset.num_classes,
        image_size=dataset.image_size,
        train_limit=wanted if limited else None,
        sampling=sampling_version(dataset.train.labels) if sampled else 1,
    )


def _recipe(recipe: Recipe, options: RunOptions) -> Recipe:
    if options.lr is not None and not math.isfinite(options.lr):
        raise BenchError(f"--lr {options.lr} is not a finite number.")
    return dataclasses.replace(
        recipe,
        epochs=recipe.epochs if options.epochs is None else options.epochs,
        lr=options.lr or recipe.lr,
        batch_size=options.train_batch_size or recipe.batch_size,
        precision=options.train_precision,
    )
