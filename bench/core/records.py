"""Records: the frozen types of the store, one per run, cell, diagnosis and audit.

They are plain data like the specs (:mod:`bench.core.specs`), so that all code that reads the store works without torch.
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
DIAGNOSIS_VERSION = 5  # changes when a diagnostic may give another number
AUDIT_VERSION = 6  # changes when the audit may give another number


def timestamp() -> str:
    """Return the current time for the field ``created`` of a record, in UTC with microseconds.

    Among cells that fill the same leaderboard entry and are otherwise equal, the later one takes precedence.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Reported(Strict):
    """A record with free text, which is stored as converted by :func:`bench.core.names.as_text`."""

    TEXTS: ClassVar[tuple[str, ...]] = ("message",)  # fields with free text, or with tuples of it

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
    """One epoch of a training: running means over its steps, on the augmented and perturbed images."""

    loss: float
    accuracy: float
    gamma: float  # in the last step; 0 without a penalty
    margin: float  # mean over the steps of the batch's median of o_y − max_{j≠y} o_j, o the outputs: logits or cosines


@dataclass(frozen=True, kw_only=True)
class RunRecord(Reported):
    """Outcome of one training, or of one model supplied by a user (``spec`` is then None)."""

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
    n_train: int | None  # None if not known, for a model that was not trained here
    epochs: int | None
    img_size: int | None
    native_size: int
    stem: str
    latent_dim: int | None
    param_count: int | None
    gamma: float | None  # in the last step; None without a penalty
    gamma_per_sample: float | None  # weight of a single image's norm of z: γ/d for a mean of squares
    history: tuple[EpochRecord, ...]
    time_s: float | None
    created: str
    environment: Environment
    source: SourceSpec | None = None  # for a network that was trained elsewhere and evaluated from a file
    collapse_penalty: bool | None = None  # whether its variant was meant to collapse when trained; None in old records


@dataclass(frozen=True)
class PluginCode(Strict):
    """Code of a diagnostic from a plug-in at the time of its measurement."""

    sha: str  # content hash of the plug-in; empty if not known
    created: str  # time of the measurement, UTC; empty if not known


@dataclass(frozen=True, kw_only=True)
class DiagnosisRecord(Reported):
    """Diagnostics of one trained network: latents, gradients and distances to adversarial images."""

    run_id: str
    weights_sha: str  # of the model it was measured on
    version: int  # DIAGNOSIS_VERSION at that time
    status: Status
    reason: str
    message: str
    images: Mapping[str, int]  # number of images, by column
    values: Mapping[str, float | None]  # by column; None if undefined
    undefined: Mapping[str, str]  # reason of an undefined value, by column
    time_s: float
    created: str  # time of the measurement of the built-in diagnostics, UTC
    environment: Environment  # of the same measurement
    plugins: Mapping[str, PluginCode] = field(default_factory=dict)  # by column of a plug-in; missing in older records


@dataclass(frozen=True)
class Finding(Reported):
    """Doubt about an accuracy: a flag, the observation in a sentence, and the points of accuracy that it costs."""

    TEXTS: ClassVar[tuple[str, ...]] = ("note",)

    flag: str  # one of bench.core.vocabulary.FLAGS
    note: str
    points: float | None = None  # None: not measured
    eps: float | None = None  # budget at which the points were measured, if it is not that of the accuracy

    @property
    def text(self) -> str:
        """The flag with its points and eps, as in tables.

        >>> found = Finding("randomised", ""), Finding("transfer", "", 7.52), Finding("transfer", "", 60.0, 0.5)
        >>> tuple(finding.text for finding in found)
        ('randomised', 'transfer=7.5pt', 'transfer=60.0pt@0.5')
        """
        where = "" if self.eps is None else f"@{format_eps(self.eps)}"
        return self.flag if self.points is None else f"{self.flag}={self.points:.1f}pt{where}"


@dataclass(frozen=True, kw_only=True)
class BudgetAudit(Strict):
    """The audit of a run's attacks at one budget, on ``n`` images of the test split, drawn proportionally to class."""

    norm: Norm
    eps: float
    n: int
    n_correct: int  # before any attack
    suite: tuple[str, ...]  # columns of the run's cells that the audit compares with
    baseline_run: str  # run id of the baseline whose adversarial images were tried; empty without one
    figures: Mapping[str, float | None]  # by name, as in bench.core.columns.AUDIT_FIGURES without the prefix
    findings: tuple[Finding, ...]
    eps_text: str = ""  # the budget as the user wrote it; empty if the user did not give it in this run
    images: tuple[str, ...] = ()  # ids of the audited images; empty in audits that stored none
    standing: tuple[int, ...] = ()  # positions in ``images`` of those correctly classified under all attacks of the run
    broken: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # positions misclassified, by audit attack


@dataclass(frozen=True)
class AttackTraits(Strict):
    """Traits of an attack that decide which flags an audit raises, as in its registry entry."""

    uses_gradient: bool
    family: str


@dataclass(frozen=True, kw_only=True)
class AuditRecord(Reported):
    """Audit of the robust accuracies of one run on one test split."""

    run_id: str
    weights_sha: str  # of the model that was audited
    data_sha: str  # of the test split whose images were audited
    version: int  # AUDIT_VERSION at that time
    level: Literal["default", "full"]
    cells: tuple[str, ...]  # ids of the attacks' cells at that time
    status: Status
    reason: str
    message: str
    figures: Mapping[str, float | None]  # of the model itself
    findings: tuple[Finding, ...]  # of the model itself
    budgets: tuple[BudgetAudit, ...]
    n_forwards: int  # passes counted per image, including those through the baseline
    n_backwards: int
    time_s: float
    created: str
    environment: Environment
    traits: Mapping[str, AttackTraits] = field(default_factory=dict)  # known ones of attacks from plug-ins, by name


@dataclass(frozen=True, kw_only=True)
class EvalRecord(Reported):
    """Outcome of one cell. Counts are stored; rates and intervals are derived from them."""

    TEXTS: ClassVar[tuple[str, ...]] = ("message", "notes")

    cell_id: str
    spec: EvalSpec
    weights_sha: str  # of the model it was measured on; a cell of other weights is not reused
    status: Status
    reason: str
    message: str
    n: int
    n_test: int
    n_attacked: int
    n_correct: int | None  # None unless ok
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
    adversarials_sha: str = ""  # hash of their file
    n_broken_8bit: int | None = None  # None unless they are stored in 8 bits
    flags: tuple[str, ...] = ()  # names of vocabulary.FLAGS
    n_truncated: int | None = None  # images whose search was stopped by --max-queries; None without this bound
    leaked: int | None = None  # number of the n images that are also in the training split; None: not known
    n_majority: int | None = None  # images of the most frequent class among the n; None in older records
    n_correct_majority: int | None = None  # number of them that are correctly classified; None unless ok and clean
