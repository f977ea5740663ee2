"""Frozen types that are stored: one record per run, cell, diagnosis and audit.

Like the specs (:mod:`bench.core.specs`), records are plain data. Code that reads the store does not need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Literal

from bench.core.epsilon import format_eps
from bench.core.names import as_text
from bench.core.sources import SourceSpec
from bench.core.specs import Encoding, EvalSpec, Norm, Strict, TrainSpec

Status = Literal["ok", "failed", "skipped"]
DIAGNOSIS_VERSION = 5  # increased when the value of a diagnostic may change
AUDIT_VERSION = 7  # increased when a figure of the audit may change


def timestamp() -> str:
    """Return the current time for the field ``created`` of a record, in UTC with microseconds.

    If several cells for the same leaderboard entry are otherwise equal, the latest one takes precedence.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Reported(Strict):
    """Record with free text. The text is converted by :func:`bench.core.names.as_text`."""

    TEXTS: ClassVar[tuple[str, ...]] = ("message",)  # names of fields that contain free text or tuples of free text

    def __post_init__(self) -> None:
        for name in self.TEXTS:
            text = getattr(self, name)
            object.__setattr__(self, name, as_text(text) if isinstance(text, str) else tuple(map(as_text, text)))


@dataclass(frozen=True, kw_only=True)
class Environment(Strict):
    """Hardware and software versions of a computation."""

    device: str
    hardware: str
    python: str
    torch: str
    torchvision: str
    timm: str
    bench: str
    git_sha: str


@dataclass(frozen=True, kw_only=True)
class EpochRecord(Strict):
    """Means over the steps of one training epoch, on the augmented and perturbed images."""

    loss: float
    accuracy: float
    gamma: float  # weight of the penalty in the last step; 0 without a penalty
    margin: float  # batch median of o_y − max_{j≠y} o_j, mean over steps; o are the outputs: logits or cosines


@dataclass(frozen=True, kw_only=True)
class RunRecord(Reported):
    """Record of one training, or of one model supplied by the user. For the latter, ``spec`` is None."""

    run_id: str
    dataset: str
    model: str
    variant: str
    seed: int
    spec: TrainSpec | None
    status: Status
    reason: str
    message: str
    config_sha: str
    train_sha: str
    weights_sha: str
    n_train: int | None  # number of training images; None for a model that was not trained here
    epochs: int | None
    img_size: int | None
    native_size: int
    stem: str
    latent_dim: int | None
    param_count: int | None
    gamma: float | None  # weight of the penalty in the last step; None without a penalty
    gamma_per_sample: float | None  # weight of the norm of z of a single image: γ/d if the penalty is a mean of squares
    history: tuple[EpochRecord, ...]
    time_s: float | None
    created: str
    environment: Environment
    source: SourceSpec | None = None  # None for a network that was trained here or given as a module
    collapse_penalty: bool | None = None  # True if the variant had a collapse penalty in training; None in old records


@dataclass(frozen=True)
class PluginCode(Strict):
    """Version of the code of a plug-in diagnostic when its value was measured."""

    sha: str  # content hash of the plug-in; empty if unknown
    created: str  # time of the measurement, UTC; empty if unknown


@dataclass(frozen=True, kw_only=True)
class DiagnosisRecord(Reported):
    """Diagnostics of one trained network: latents, gradients and distances to adversarial images."""

    run_id: str
    weights_sha: str  # hash of the weights that were diagnosed
    version: int  # DIAGNOSIS_VERSION of the measurement
    status: Status
    reason: str
    message: str
    images: Mapping[str, int]  # numbers of images, by column
    values: Mapping[str, float | None]  # values by column; None if undefined
    undefined: Mapping[str, str]  # reasons of undefined values, by column
    time_s: float
    created: str  # time of the measurement of the built-in diagnostics, UTC
    environment: Environment  # environment of the same measurement
    plugins: Mapping[str, PluginCode] = field(default_factory=dict)  # by plug-in column; empty in older records


@dataclass(frozen=True)
class Finding(Reported):
    """Evidence that an accuracy is not reliable: a flag, a note, and the drop in accuracy in points."""

    TEXTS: ClassVar[tuple[str, ...]] = ("note",)

    flag: str  # one of bench.core.vocabulary.FLAGS
    note: str
    points: float | None = None  # drop in accuracy in points; None if not measured
    eps: float | None = None  # budget at which the drop was measured; None if it is the budget of the accuracy

    @property
    def text(self) -> str:
        """Flag with its points and eps, as shown in tables.

        >>> found = Finding("randomised", ""), Finding("transfer", "", 7.52), Finding("transfer", "", 60.0, 0.5)
        >>> tuple(finding.text for finding in found)
        ('randomised', 'transfer=7.5pt', 'transfer=60.0pt@0.5')
        """
        where = "" if self.eps is None else f"@{format_eps(self.eps)}"
        return self.flag if self.points is None else f"{self.flag}={self.points:.1f}pt{where}"


@dataclass(frozen=True, kw_only=True)
class BudgetAudit(Strict):
    """Audit of the attacks of a run at one budget, on ``n`` test images, sampled proportionally to class."""

    norm: Norm
    eps: float
    n: int
    n_correct: int  # number of correctly classified images without an attack
    suite: tuple[str, ...]  # columns of the attacks of the run, with which the audit compares its own attacks
    baseline_run: str  # run id of the baseline whose adversarial images were transferred; empty without a baseline
    figures: Mapping[str, float | None]  # by name in bench.core.columns.AUDIT_FIGURES, without the prefix audit_
    findings: tuple[Finding, ...]
    eps_text: str = ""  # budget as written by the user; empty if not requested in this run
    images: tuple[str, ...] = ()  # ids of the audited images; empty in older audits
    standing: tuple[int, ...] = ()  # indices into images: correctly classified under all attacks of the run
    broken: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # indices of misclassified images, by attack of the audit


@dataclass(frozen=True)
class AttackTraits(Strict):
    """Traits of an attack, from its registry entry, that determine the flags of an audit."""

    uses_gradient: bool
    family: str


@dataclass(frozen=True, kw_only=True)
class AuditRecord(Reported):
    """Audit of the robust accuracies of one run on one test split."""

    run_id: str
    weights_sha: str  # hash of the weights that were audited
    data_sha: str  # hash of the test split
    version: int  # AUDIT_VERSION of the audit
    level: Literal["default", "full"]
    cells: tuple[str, ...]  # ids of the audited attack cells
    status: Status
    reason: str
    message: str
    figures: Mapping[str, float | None]  # figures of the model itself, without an attack
    findings: tuple[Finding, ...]  # findings about the model itself
    budgets: tuple[BudgetAudit, ...]
    n_forwards: int  # forward passes, counted per image, including passes through the baseline
    n_backwards: int
    time_s: float
    created: str
    environment: Environment
    traits: Mapping[str, AttackTraits] = field(
        default_factory=dict
    )  # traits of plug-in attacks, by name, as far as known


@dataclass(frozen=True)
class StageCount(Strict):
    """Counts of one stage of an ensemble of attacks."""

    name: str
    n_attacked: int
    n_broken: int  # images for which this stage found an adversarial image
    n_forwards: int  # forward passes, counted per image
    n_backwards: int

    def plus(self, other: StageCount) -> StageCount:
        """Return the counts of this stage for both sets of images."""
        return StageCount(
            self.name,
            self.n_attacked + other.n_attacked,
            self.n_broken + other.n_broken,
            self.n_forwards + other.n_forwards,
            self.n_backwards + other.n_backwards,
        )


@dataclass(frozen=True, kw_only=True)
class EvalRecord(Reported):
    """Record of one cell. It stores counts, from which rates and intervals are computed."""

    TEXTS: ClassVar[tuple[str, ...]] = ("message", "notes")

    cell_id: str
    spec: EvalSpec
    weights_sha: str  # hash of the evaluated weights; a cell of other weights is not reused
    status: Status
    reason: str
    message: str
    n: int
    n_test: int
    n_attacked: int
    n_correct: int | None  # None unless status is ok
    max_distance: float | None
    n_forwards: int
    n_backwards: int
    batch_size: int  # largest batch size that fitted into memory
    time_s: float
    created: str
    official: bool
    dtype: str
    backend: str
    backend_version: str
    notes: tuple[str, ...]
    environment: Environment
    adversarials: Encoding = "none"  # format of the stored adversarial images; does not affect the accuracy
    adversarials_sha: str = ""  # hash of the file with the adversarial images
    n_broken_8bit: int | None = None  # images misclassified after rounding to 8 bits; None unless stored as uint8
    flags: tuple[str, ...] = ()  # names of vocabulary.FLAGS
    n_truncated: int | None = None  # images whose attack was stopped by --max-queries; None without this bound
    leaked: int | None = None  # evaluated images that are also in the training split; None if unknown
    n_majority: int | None = None  # evaluated images of the most frequent class; None in older records
    n_correct_majority: int | None = None  # correctly classified images of this class; None unless ok and clean
    samples_sha: str = ""  # hash of the file with the outcomes per image; empty without this file
    stages: tuple[
        StageCount, ...
    ] = ()  # stages of an ensemble in the order in which they ran; empty if none or unknown
