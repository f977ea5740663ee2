"""Configuration of a run: the only definition of every option of ``bench run`` and ``bench evaluate``.

The options of the command line, of TOML files, of :func:`bench.api.run` and of :func:`bench.api.evaluate` are generated
from these classes, and so is the recorded ``run.toml``. To add an option, add a field here and read it from
``context.config``, which is available in every part of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.core.epsilon import format_eps
from bench.core.options import Config, option
from bench.core.sources import EXTERNAL
from bench.core.specs import Backend, Encoding, Norm
from bench.core.vocabulary import BASELINE, ENCODINGS, MCE_REFERENCES, NATIVE, NORMS, PRECISIONS, PROTOCOLS, REFERENCE
from bench.models.variants import shown_name
from bench.runtime.interrupt import duration

AuditLevel = Literal["default", "full", "none"]
ChosenPrecision = Literal["auto", "fp32", "bf16"]

NETWORKS, DATA, TRAINING = "Networks", "Data", "Training"
ATTACKS, CORRUPTIONS, CHECKS = "Attacks", "Corruptions", "Checks and diagnosis"
TABLES, EXECUTION = "Tables", "Execution"
GROUPS = (NETWORKS, DATA, TRAINING, ATTACKS, CORRUPTIONS, CHECKS, TABLES, EXECUTION)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Options of the data set."""

    dataset: str = option("digits", group=DATA, help="name of the data set, see 'bench list datasets'")
    data_dir: Path | None = option(group=DATA, help="folder with the files of the data set")
    image_size: int | None = option(
        group=DATA, minimum=8, help="side in pixels to which the images of an image folder are cropped"
    )
    class_order: str | None = option(
        group=DATA,
        choices=("natural", "string"),
        default_text="natural if all names are numbers",
        help="order of an image folder's classes: natural (2 before 10, as timm), string (10 before 2, as torchvision)",
    )


@dataclass(frozen=True, kw_only=True)
class TableConfig(Config):
    """Options of the tables that are computed from stored cells."""

    mce_reference: str = option(
        BASELINE,
        group=TABLES,
        choices=MCE_REFERENCES,
        help="reference of the mean corruption error: this run's baseline, or AlexNet's errors on ImageNet-C",
    )
    against: str = option(
        BASELINE,
        group=TABLES,
        metavar="VARIANT",
        help="paired reference of comparisons: a variant of the same backbone, recipe and seeds",
    )
    rank_flagged: bool = option(False, group=TABLES, help="also rank rows whose numbers are flagged")

    def __post_init__(self) -> None:
        """Convert and check every value. The reference gets the name with which tables show it."""
        super().__post_init__()
        object.__setattr__(self, "against", shown_name(self.against))


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(DataConfig, TableConfig):
    """Options of attacks, corruptions, audit and results."""

    limit: int | Literal["all"] | None = option(
        group=DATA,
        minimum=1,
        default_text="the data set's",
        help="number of images per split, including the training split, proportional to class",
    )
    attacks: tuple[str, ...] = option(
        ("fgsm", "pgd", "autoattack"),
        group=ATTACKS,
        help="attacks, see 'bench list attacks', or 'none'; of libraries: 'foolbox:LinfPGD(steps=50)'",
    )
    norm: Norm = option("linf", group=ATTACKS, choices=NORMS, help="norm of the perturbation")
    eps: tuple[str, ...] = option(
        (),
        group=ATTACKS,
        default_text="the data set's",
        as_text=format_eps,
        help="budgets such as 8/255 or 0.05, for pixels in [0, 1]",
    )
    attack_limit: tuple[str, ...] = option((), group=ATTACKS, help="number of test images per attack: autoattack=1000")
    attack_backend: Backend = option(
        NATIVE, group=ATTACKS, choices=(NATIVE, REFERENCE), help="our own attacks, or foolbox and pyautoattack"
    )
    attack_precision: ChosenPrecision = option(
        "fp32",
        group=ATTACKS,
        choices=PRECISIONS,
        help="precision of the attack; final predictions are float32. auto: bf16 if the hardware supports it",
    )
    protocol: str = option(
        "standard",
        group=ATTACKS,
        choices=tuple(PROTOCOLS),
        help="prefiltered: run AutoAttack only on images that are correctly classified under FGSM and PGD",
    )
    max_queries: int | None = option(
        group=ATTACKS,
        minimum=1,
        help="maximum number of forward passes of an attack per image; 500 gives rows such as autoattack-q500",
    )
    save_adversarials: Encoding = option(
        "none",
        group=ATTACKS,
        choices=ENCODINGS,
        help="store adversarial images for 'bench verify'; uint8: rounded to 8 bits and classified again",
    )
    corruptions: tuple[str, ...] = option(
        ("standard",), group=CORRUPTIONS, help="standard (15 kinds), all (19), none, families, or names; wildcards"
    )
    severities: tuple[str, ...] = option(("1", "2", "3", "4", "5"), group=CORRUPTIONS, help="severities from 1 to 5")
    corruption_profile: str | None = option(
        group=CORRUPTIONS,
        default_text="nearest to the image size",
        help="set of constants: cifar, tiny_imagenet or imagenet",
    )
    corruptions_dir: Path | None = option(
        group=CORRUPTIONS,
        help="folder of published corrupted images, such as CIFAR-10-C/, to read instead of generating",
    )
    corruptions_cache: bool = option(
        False,
        group=CORRUPTIONS,
        recorded=False,
        help="store the corrupted images of folders too large for memory, which are otherwise generated on reading",
    )
    audit: AuditLevel = option(
        "default",
        group=CHECKS,
        choices=("default", "full", "none"),
        help="audit of robust accuracies; full: all budgets, ten times the steps, more images",
    )
    results: Path = option(Path("results"), group=EXECUTION, recorded=False, help="results folder")
    plugin: tuple[Path, ...] = option((), group=EXECUTION, help="Python file that registers more names; repeatable")
    batch_size: int | Literal["auto"] = option("auto", group=EXECUTION, minimum=1, help="batch size of the evaluation")
    device: str = option("auto", group=EXECUTION, choices=("auto", "cpu", "cuda", "mps"), help="torch device")
    threads: int | None = option(
        group=EXECUTION, minimum=1, maximum=1024, default_text="torch's", help="number of torch threads on the CPU"
    )
    workers: int | None = option(
        group=EXECUTION,
        minimum=1,
        maximum=256,
        recorded=False,
        default_text="one per core, at most 8",
        help="processes that decode the files of an image folder too large for memory",
    )
    time_budget: str | None = option(
        group=EXECUTION,
        recorded=False,
        metavar="DURATION",
        help="stop after this time, such as 90m or 2h; run the same command again to continue",
    )
    force: bool = option(False, group=EXECUTION, recorded=False, help="compute stored results again")

    def __post_init__(self) -> None:
        """Convert and check the options. Raises BenchError for a time budget that is no duration."""
        super().__post_init__()
        if self.time_budget is not None:
            duration(self.time_budget)


@dataclass(frozen=True, kw_only=True)
class RunConfig(MeasureConfig):
    """Configuration of ``bench run``. None selects the default of the data set, the recipe or the variant."""

    models: tuple[str, ...] = option((), group=NETWORKS, help="timm architectures or registered models; wildcards")
    variants: tuple[str, ...] = option(("baseline", "lpc"), group=NETWORKS, help="training-time ideas; wildcards")
    seeds: tuple[str, ...] = option(("0",), group=NETWORKS, help="seeds of training and attack")
    latent_dim: int | None = option(
        group=NETWORKS, minimum=1, maximum=65536, default_text="the variant's", help="width of penultimate layers"
    )
    pretrained: bool = option(
        False, group=NETWORKS, help="start from timm's weights, with the normalisation of timm's pretrained_cfg"
    )
    checkpoint_path: Path | None = option(
        group=NETWORKS,
        help="start from local backbone weights; for timm architectures with the normalisation of pretrained_cfg",
    )
    stem: Literal["native", "small"] | None = option(
        group=NETWORKS,
        choices=("native", "small"),
        default_text="small up to 64 px",
        help="stem of timm architectures with random weights; small: 3×3 at stride 1 without pooling",
    )
    train_limit: int | Literal["all"] | None = option(
        group=DATA, minimum=1, default_text="--limit", help="number of training images"
    )
    recipe: str = option("auto", group=TRAINING, help="auto, short, paper, or see 'bench list recipes'")
    epochs: int | None = option(
        group=TRAINING,
        minimum=0,
        default_text="the recipe's",
        help="number of epochs; 0 evaluates the initial weights",
    )
    lr: float | None = option(group=TRAINING, minimum=0, above=True, default_text="the recipe's", help="learning rate")
    train_batch_size: int | None = option(
        group=TRAINING, minimum=2, default_text="the recipe's", help="batch size of the training"
    )
    train_precision: ChosenPrecision = option(
        "auto",
        group=TRAINING,
        choices=PRECISIONS,
        help="precision of the backbone in training. auto: the one that a trial shows to be faster on this device",
    )
    train_budget: str | None = option(
        group=TRAINING,
        metavar="DURATION",
        help="time per training, such as 10m: fewer epochs than the recipe's, so that the slowest variant keeps it",
    )
    ema: float | None = option(
        group=TRAINING,
        minimum=0,
        maximum=1,
        default_text="the recipe's, or the variant's",
        help="decay per step of the averaged weights, which are evaluated in place of the last ones; 0: no average",
    )
    train_eps: str | None = option(
        group=TRAINING,
        default_text="the data set's largest",
        help="budget of adversarial training, as in --eps",
    )
    diagnose: bool = option(True, group=CHECKS, no_form=True, help="measure collapse, gradients and DeepFool distances")

    def __post_init__(self) -> None:
        """Convert and check the options. Raises BenchError for a budget that is no duration."""
        super().__post_init__()
        if self.train_budget is not None:
            duration(self.train_budget)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(MeasureConfig):
    """Configuration of ``bench evaluate`` that is shared by all networks."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """Options of one network that was trained elsewhere, in ``bench evaluate`` or in a ``[[networks]]`` table."""

    model: str | None = option(
        group=NETWORKS, help="architecture of a checkpoint of weights: timm's, torchvision:NAME, or a plug-in's"
    )
    name: str | None = option(
        group=NETWORKS,
        default_text="the file's, or the architecture with --as-variant",
        help="name in the tables",
    )
    variant: str = option(
        EXTERNAL, group=NETWORKS, flag="as-variant", default_text="none", help="role in a comparison, such as baseline"
    )
    seed: int = option(
        0, group=NETWORKS, minimum=0, help="seed of the first network; increased by 1 for each further network"
    )
    normalize: str | None = option(
        group=NETWORKS,
        metavar="HOW",
        default_text="the checkpoint's own, or timm's pretrained_cfg",
        help="imagenet, cifar10, half, clip, none, dataset, from-config, or mean and std as numbers",
    )
    input_size: str = option(
        "auto",
        group=NETWORKS,
        metavar="PIXELS",
        default_text="the images' own",
        help="side to which images are resized: a number, native, or from-config",
    )
    stem: Literal["native", "small"] | None = option(
        group=NETWORKS, choices=("native", "small"), default_text="by the weights", help="stem of the architecture"
    )
    class_names: Path | None = option(
        group=NETWORKS, help="file with the class names in the order of the outputs, one per line, or JSON"
    )
    trust_normalization: bool = option(
        False, group=NETWORKS, help="continue even if the probe finds a better normalisation or class order"
    )
    checkpoint: Path | None = option(group=NETWORKS, help="file of the network")
    module: str | None = option(
        group=NETWORKS, metavar="FILE.py:FACTORY", help="function that returns a module, instead of a file"
    )

    def __post_init__(self) -> None:
        """Convert and check every value. A combination of variants gets the name with which tables show it."""
        super().__post_init__()
        object.__setattr__(self, "variant", shown_name(self.variant))

    @property
    def title(self) -> str:
        """Name of the network for users: ``name:variant:seed``."""
        return f"{self.name}:{self.variant}:{self.seed}"

    @property
    def where(self) -> str:
        """File or factory of the network, for messages."""
        return str(self.checkpoint or self.module)
