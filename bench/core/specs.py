"""Frozen types that define a result.

A spec contains everything that determines a result, and nothing else. Its hash is the identifier of the result. Results
are stored as records (:mod:`bench.core.records`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bench.core.epsilon import format_eps
from bench.core.names import text_part
from bench.core.vocabulary import CLEAN, NATIVE, STANDARD, corruption_column, metric_column

Scalar = bool | int | float | str
Norm = Literal["linf", "l2", "l1"]
Backend = Literal["native", "reference"]
Encoding = Literal["none", "float32", "uint8"]  # format of stored adversarial images
Precision = Literal["fp32", "bf16"]
Source = Literal["generated", "official"]  # source of corrupted images

ID_LENGTH = 12
SAMPLING_VERSION = 2  # version of the sampling of a limited number of images, see bench.data.sampling


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of ``value`` (a dataclass or JSON data) in canonical JSON, as hex."""
    data = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_id(value: Any) -> str:
    """Return a part of the fingerprint of ``value`` that a CSV reader does not parse as a number."""
    return text_part(fingerprint(value), ID_LENGTH)


LATER_RECIPE_FIELDS = ("optimizer", "momentum", "ema", "noise_space", "init")
LATER_VARIANT_FIELDS = (
    "training_step", "step_weight", "weight_perturbation", "noise", "noise_share", "spectral_norm",
    "ema",
)  # fmt: skip


def _forget_default_sampling(spec: dict[str, Any]) -> None:
    """Remove version 1 of the sampling, so that ids from before version 2 do not change."""
    if spec["sampling"] == 1:
        del spec["sampling"]


def _forget_defaults(content: dict[str, Any], kind: type, later: tuple[str, ...]) -> None:
    """Remove the fields ``later``, which were added later, at their default, so that ids from before do not change."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name in later:
        if content[name] == defaults[name]:
            del content[name]


class Strict:
    """Base class of stored types. A file with an unknown key or a value of another type is rejected."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class Recipe(Strict):
    """Training settings of a network. Every data set declares a recipe. The command line overrides single values."""

    epochs: int
    batch_size: int = 128
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    weight_decay: float = 5e-4
    activation: str | None = None  # replaces the ReLUs of the backbone
    horizontal_flip: bool = False
    crop_padding: int = 0  # padding in pixels before a random crop to the original size; 0: no crop
    crop_fill: Literal["black", "mean"] = "black"  # mean: equivalent to padding with 0 after the normalisation
    resized_crop: bool = False  # crop a random part of the image and resize it to the original size
    precision: Precision = "fp32"  # precision of the backbone; head, loss and weights stay float32
    noise: float = 0.0  # standard deviation of Gaussian noise on the image, in units of ``noise_space``
    noise_space: Literal["pixels", "normalized"] = "pixels"  # [0, 1] pixels, or the output of the normalisation
    init: Literal["timm", "authors"] = "timm"  # initial weights of the backbone, see bench.models.initial_weights
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: with Nesterov momentum
    momentum: float = 0.9  # of sgd
    ema: float | None = None  # decay per step of the averaged weights, which are evaluated; None: the variant's


@dataclass(frozen=True, kw_only=True)
class AdversarySpec(Strict):
    """Attack on the training images with perturbations δ, ‖δ‖ ≤ eps; see :mod:`bench.models.adversary`."""

    norm: Literal["linf", "l2"] = "linf"
    eps: float | None = None  # in units of [0, 1] pixels; None: the largest budget of this norm of the data set
    steps: int = 10
    step_size: float = 0.25  # in units of eps
    start: float = 1.0  # radius of the ball from which the start is drawn, in units of eps
    projected: bool = True  # False: δ is limited by start and steps only, and may leave the ball, as in N-FGSM


@dataclass(frozen=True, kw_only=True)
class VariantSpec(Strict):
    """Definition of a variant: a training-time idea as data.

    Loss = criterion(o, y) + γ·penalty(z) + term_weight·term, where h are the features of the backbone, z = head(h) the
    latents of width ``latent_dim``, o the outputs and y the labels.
    """

    head: str = "none"
    latent_dim: int | None = None  # None: width of the backbone's features
    criterion: str = "cross_entropy"
    penalty: str | None = None
    schedule: str | None = None  # schedule of γ
    gamma: float | None = None  # value of a constant schedule
    balance_dim: int | None = None  # width for which the schedule computes γ; None: width of the latents
    term: str | None = None
    term_weight: float = 1.0
    weight_decay: float | None = None  # replaces the weight decay of the recipe
    adversary: AdversarySpec | None = None  # attack on the training images
    training_step: str = "standard"
    step_weight: float = 1.0  # weight of the training step's own part of the loss
    weight_perturbation: float = 0.0  # adversarial change of each weight matrix, relative to its norm; 0: none
    noise: float = 0.0  # standard deviation of Gaussian noise on the training images, in units of [0, 1] pixels
    noise_share: float = 1.0  # share of the training images that get this noise
    spectral_norm: bool = False  # divide the weights of each convolution and linear layer by their spectral norm
    ema: float | None = None  # decay per step of the averaged weights, which are evaluated; None: the last weights
    code_sha: str = ""  # content hash of the plug-ins, for a variant that a plug-in registered


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Strict):
    """Name and initial weights of a backbone."""

    name: str
    pretrained: bool = False
    checkpoint_sha: str | None = None  # content hash of local weights; their path is not part of the spec
    code_sha: str = ""  # content hash of the plug-ins, for a model that a plug-in registered
    mean: tuple[float, ...] | None = None  # normalisation of the initial weights; None: mean of the data set
    std: tuple[float, ...] | None = None  # None: std of the data set
    stem: Literal["native", "small"] | None = None  # stem of a network with random weights; None: by the image size


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Strict):
    """Preprocessing of images in [0, 1] for a network that was trained elsewhere."""

    normalization: str  # source of mean and std: a name of NORMALIZATIONS, dataset, from-config, given or inside
    mean: tuple[float, ...] | None  # one value per channel, or one for all channels; None: no normalisation
    std: tuple[float, ...] | None
    channels: Literal[1, 3] = 3  # 1: the input of the network is the mean of the three channels
    input_size: int | None = None  # side to which images are resized; None: not resized
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    precision: Literal["fp64", "fp32", "fp16", "bf16"] = "fp32"  # precision of the network; logits are float32
    class_order: tuple[int, ...] | None = None  # output k is class class_order[k] of the data set; None: class k


@dataclass(frozen=True, kw_only=True)
class Fitting(Strict):
    """Resize and centre crop of the images of an image folder, as in timm and torchvision.

    The shorter side is resized to floor(size / crop_pct) pixels. Then the central size × size pixels are cropped.
    """

    size: int
    crop_pct: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True, kw_only=True)
class DataSpec(Strict):
    """Training data of a network. The files are identified by their content hash, not by their path."""

    name: str
    train_sha: str
    num_classes: int
    image_size: int
    train_limit: int | None = None
    sampling: int = 1  # version of the sampling of a limited number of training images; 1 if all are used


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Strict):
    """Everything that determines a set of weights."""

    data: DataSpec
    model: ModelSpec
    variant: str
    variant_spec: VariantSpec
    recipe: Recipe
    seed: int
    version: int = 5  # version of the training procedure; increased when the same spec may give other weights

    @property
    def name(self) -> str:
        """Name of the run for users: ``model:variant:seed``."""
        return f"{self.model.name}:{self.variant}:{self.seed}"

    @property
    def run_id(self) -> str:
        """Identifier of the run: the hash of the spec."""
        return self._hash()

    def is_like(self, other: TrainSpec) -> bool:
        """Return whether both specs differ at most in the variant. The version of the training must be equal, too."""
        return dataclasses.replace(self, variant=other.variant, variant_spec=other.variant_spec) == other

    @property
    def ema(self) -> float | None:
        """Decay per step of the averaged weights: the recipe's or the variant's. None evaluates the last weights."""
        return self.variant_spec.ema if self.recipe.ema is None else self.recipe.ema or None

    @property
    def config_sha(self) -> str:
        """Hash of the spec without the seed. Runs with the same hash differ only in the seed."""
        return dataclasses.replace(self, seed=0)._hash()

    def _hash(self) -> str:
        """Return the hash. Fields that were added later are omitted at their default, so that old ids stay valid."""
        content = dataclasses.asdict(self)
        _forget_default_sampling(content["data"])
        if self.model.mean is None:
            del content["model"]["mean"], content["model"]["std"]
        _forget_defaults(content["model"], ModelSpec, ("stem",))
        _forget_defaults(content["variant_spec"], VariantSpec, LATER_VARIANT_FIELDS)
        if self.variant_spec.adversary is not None:
            _forget_defaults(content["variant_spec"]["adversary"], AdversarySpec, ("start", "projected"))
        _forget_defaults(content["recipe"], Recipe, LATER_RECIPE_FIELDS)
        return short_id(content)


@dataclass(frozen=True, kw_only=True)
class AttackSpec(Strict):
    """One attack at one budget. ``params`` are parameters of this attack, such as steps and restarts."""

    name: str
    norm: Norm
    eps: float  # in units of [0, 1] pixels
    version: int = 1
    params: Mapping[str, Scalar] = field(default_factory=dict)
    code_sha: str = ""  # content hash of the plug-ins, for an attack that a plug-in registered
    backend: Backend = NATIVE
    precision: Precision = "fp32"  # precision of the attack; final predictions are always float32

    @property
    def max_queries(self) -> int | None:
        """Maximum number of forward passes per image; None without a bound. It is a part of ``params``."""
        bound = self.params.get("max_queries")
        return None if bound is None else int(bound)

    @property
    def label(self) -> str:
        """Name in tables. A bound on forward passes is a part of the name."""
        return self.name if self.max_queries is None else f"{self.name}-q{self.max_queries}"


@dataclass(frozen=True, kw_only=True)
class CorruptionSpec(Strict):
    """One corruption at one severity from 1 to 5. The images are the same for all models and training seeds."""

    kind: str
    severity: int
    source: Source
    profile: str  # set of constants: cifar, tiny_imagenet or imagenet
    version: int = 1  # version of our definition of the kind
    seed: int = 0
    files_sha: str = ""  # content hash of the published file, or of the photographs used by the corruption
    code_sha: str = ""  # content hash of the plug-ins, for a corruption that a plug-in registered

    def identity(self) -> dict[str, Any]:
        """Return the fields as JSON data. Fields that were added later are omitted at their default."""
        data = dataclasses.asdict(self)
        if not self.code_sha:
            del data["code_sha"]
        return data


@dataclass(frozen=True, kw_only=True)
class EvalSpec(Strict):
    """One cell: an attack, a corruption or neither, on ``limit`` images of a test split, proportional to class."""

    run_id: str
    data_sha: str
    attack: AttackSpec | None
    protocol: str
    limit: int | None
    batch_size: int
    seed: int
    filters: tuple[str, ...] = ()  # ids of filtering cells; images misclassified in these are not attacked again
    corruption: CorruptionSpec | None = None
    sampling: int = 1  # version of the sampling of ``limit`` images; 1 if all are used

    @property
    def name(self) -> str:
        """Name of the cell: its column of the leaderboard, or kind and severity of a corruption."""
        if self.corruption is not None:
            return corruption_column(self.corruption.kind, self.corruption.severity)
        attack = self.attack
        column = metric_column(attack.label, attack.norm, format_eps(attack.eps)) if attack else CLEAN
        return column if self.protocol == STANDARD else f"{column}:{self.protocol}"

    @property
    def is_clean(self) -> bool:
        """True if the images are neither attacked nor corrupted."""
        return self.attack is None and self.corruption is None

    @property
    def cell_id(self) -> str:
        """Identifier of the cell: the hash of the spec. Fields added later are omitted at their default."""
        data = dataclasses.asdict(self)
        if self.corruption is None:
            del data["corruption"]
        else:
            data["corruption"] = self.corruption.identity()
        _forget_default_sampling(data)
        return short_id(data)
