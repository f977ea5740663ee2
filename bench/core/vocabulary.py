"""Every word that leaves the program: commands, columns, statuses, reasons, protocols and exit codes.

``results/README.md`` explains each of them to a reader; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

#: The sub-commands, each a module of :mod:`bench.cli`, and the first sentence of its help.
COMMANDS = {
    "run": "Train every model × variant × seed, attack it, and write the leaderboard.",
    "evaluate": "Attack networks that were trained elsewhere, and write the leaderboard.",
    "list": "List the available models, variants, attacks, corruptions, data sets or recipes.",
    "show": "Show a run, or the duplicate images of a data set.",
    "leaderboard": "Rebuild all tables from the stored cells, and print the leaderboard and the comparison.",
    "diagnose": "Measure latent collapse, gradient norms and DeepFool distances of a run.",
    "plot": "Draw the latents of a run, or a picture under all corruptions.",
    "audit": "Check whether the robust accuracies of a run can be believed.",
    "verify": "Verify the stored adversarial images of a run without running an attack.",
    "corrupt": "Write corrupted test images in CIFAR-10-C's layout.",
    "compare": "Compare own rows with published ones, ranked together where the protocols agree.",
    "export": "Export a run's numbers in the format of RobustBench, timm or Hugging Face.",
    "check": "Check whether a run has lost robustness against a baseline file.",
    "baseline": "Write the outcomes of runs as a baseline for 'bench check', or show one.",
    "check-plugin": "Check every entry that plug-ins register against the contract of its kind.",
}
KINDS = ("models", "variants", "attacks", "corruptions", "datasets", "recipes")
NORMS = ("linf", "l2", "l1")
ENCODINGS = ("none", "float32", "uint8")  # of stored adversarial images
PRECISIONS = ("auto", "fp32", "bf16")
SCOPES = ("recipe", "weights")  # of a gate
DEFAULT_ALPHA = 0.01  # level of each of its one-sided tests


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    NOT_VERIFIED = 1
    USAGE = 2
    CELLS_FAILED = 3


STATUSES = ("ok", "failed", "skipped")

#: Why a cell is not ``ok``. The empty reason goes with ``ok``.
REASONS = {
    "nan_loss": "the training loss became NaN or infinite",
    "nan_logits": "the model returned NaN or infinite logits",
    "nan_input": "the attack returned NaN or infinite pixels",
    "budget_violation": "the attack returned an image outside its eps-ball or outside [0, 1]",
    "wrong_shape": "the model or the attack returned a tensor of another shape than its input asks for",
    "no_gradient": "the attack needs gradients, and the model gives none with respect to its input",
    "nan_gradient": "the attack needs gradients, and those of the model are NaN or infinite at many images",
    "out_of_memory": "the device ran out of memory",
    "attack_error": "the attack raised an error",
    "corruption_error": "the corrupted images could not be made or read",
    "model_changed": "the attack changed the weights or buffers of the model; they were put back",
    "model_error": "the model could not be built or raised an error",
    "training_failed": "the model of this cell was never trained",
    "audit_error": "the audit raised an error",
    "diagnosis_error": "a diagnostic raised an error",
    "prerequisite_failed": "an attack that filters the images of this one did not finish",
}

#: What speaks against an accuracy without taking it away; on the board each stands behind its number. The first seven
#: are of the model itself, the others of the audit's attacks, each with the points of robust accuracy it takes away.
FLAGS = {
    "randomised": (
        "asked twice about the same images, the model gives logits that differ by more than rounding (10⁻⁴ of the "
        "largest): one draw of the attack says little"
    ),
    "no_gradient": "the model gives no finite gradient with respect to its input: only attacks without gradients count",
    "zero_gradient": (
        "the gradient of the margin is zero at more than half of the attacked images: an attack that follows gradients "
        "stands still there"
    ),
    "batch_dependent": "the model answers otherwise about an image alone than about the same image among others",
    "stateful_eval": "in evaluation mode a forward pass changes the model, or leaves a part of it in training mode",
    "probabilities": "the model returns probabilities in place of logits, which flattens every loss of an attack",
    "test_time_optimization": (
        "the model computes gradients while it answers: a defence that optimises needs its own attacks"
    ),
    "scale_masking": (
        "PGD on the plain float32 cross-entropy breaks fewer images than the same attack on logits that are rescaled "
        "to a median gap of 8 nats, although this changes no class: logits so large that gradients vanish in float32, "
        "or so small that all wrong classes pull alike"
    ),
    "not_converged": "PGD with twice the steps breaks more: the shorter one had not arrived",
    "weaker_attack_stronger": (
        "a weaker attack breaks images that a stronger one of its kind does not, more than 1.5 points of them"
    ),
    "black_box_stronger": (
        "Square, random noise or steps towards images of other classes break images that no attack by gradients does: "
        "the gradients mislead"
    ),
    "transfer": "images made on the baseline of the same backbone and seed break it where its own gradients do not",
    "large_eps_survivors": (
        "at a budget at which every image can become one and the same grey, which breaks all classes but one, an "
        "attack by gradients leaves more images standing than the grey does"
    ),
    "stronger_attack": "the audit's attacks break images that the whole suite of the run does not",
}

#: How AutoAttack's number came about; only ``standard`` may stand beside published rows.
PROTOCOLS = {
    "standard": "the attack alone, on every correctly classified image: what the field publishes",
    "prefiltered": "only on the images that FGSM and PGD left standing at the same eps: a pointwise worst case",
}

CLEAN = "clean"
STANDARD = "standard"
NATIVE: Final = "native"  # who computes an attack: we do,
REFERENCE: Final = "reference"  # or an independent library
BASELINE = "baseline"
MCE_REFERENCES = ("baseline", "alexnet")


def marks(flags: Iterable[str]) -> str:
    """Format flags as the marks that follow a number in printed tables and messages.

    >>> marks(["randomised"]), marks([])
    (' ⚑randomised', '')
    """
    return "".join(f" ⚑{flag}" for flag in flags)


def corruption_column(kind: str, severity: int) -> str:
    """The name of a corruption's cell.

    >>> corruption_column("fog", 3)
    'fog@severity-3'
    """
    return f"{kind}@severity-{severity}"


def metric_column(attack: str, norm: str | None, eps: str | None) -> str:
    """The name of an accuracy's column on the leaderboard.

    >>> metric_column("autoattack", "linf", "8/255"), metric_column("clean", None, None)
    ('autoattack@linf-8/255', 'clean')
    """
    return attack if norm is None else f"{attack}@{norm}-{eps}"
