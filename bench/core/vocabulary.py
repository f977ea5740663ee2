"""Vocabulary of the output: commands, statuses, reasons, flags, protocols and exit codes.

``tools/column_tables.py`` writes the meanings into ``results/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

#: Sub-commands, each a module of :mod:`bench.cli`, with the first sentence of their help.
COMMANDS = {
    "run": "Train every model × variant × seed, attack it, and write the leaderboard.",
    "evaluate": "Attack networks that were trained elsewhere, and write the leaderboard.",
    "list": "List the available models, variants, attacks, corruptions, data sets, recipes or leaderboard metrics.",
    "show": "Show a run, or the duplicate images of a data set.",
    "leaderboard": "Rebuild all tables from the stored cells, and print the leaderboard and the comparison.",
    "diagnose": "Measure latent collapse, gradient norms and DeepFool distances of a run.",
    "plot": "Draw the latents of a run, or an image under all corruptions.",
    "audit": "Check whether the robust accuracies of a run are reliable.",
    "verify": "Verify the stored adversarial images of a run without running an attack.",
    "gc": "List the files of a results folder to which nothing refers, and delete them with --delete.",
    "rm": "Remove a run with all its results.",
    "corrupt": "Write corrupted test images in the layout of CIFAR-10-C.",
    "compare": "Compare our rows with published rows, and rank rows of the same protocol together.",
    "export": "Export the results of a run in the format of RobustBench, timm or Hugging Face.",
    "check": "Check whether a run is less accurate or less robust than a baseline file says.",
    "baseline": "Write the outcomes of runs as a baseline for 'bench check', or show one.",
    "check-plugin": "Check every entry that a plug-in registers against the contract of its kind.",
    "doctor": "Check the installation and the machine: versions, devices, folders, names, encodings and clock.",
}
KINDS = ("models", "variants", "attacks", "corruptions", "datasets", "recipes", "metrics")
NORMS = ("linf", "l2", "l1")
ENCODINGS = ("none", "float32", "uint8")  # formats of stored adversarial images
PRECISIONS = ("auto", "fp32", "bf16")
SCOPES = ("recipe", "weights")  # scopes of 'bench check'
DEFAULT_ALPHA = 0.01  # level of each one-sided test of 'bench check'


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    NOT_VERIFIED = 1
    USAGE = 2
    CELLS_FAILED = 3


STATUSES = ("ok", "failed", "skipped")

#: Reasons of cells that are not ``ok``; the reason of an ``ok`` cell is empty.
REASONS = {
    "nan_loss": "the training loss became NaN or infinite",
    "loss_error": "a part of the training loss is not one number with a gradient",
    "nan_logits": "the model returned NaN or infinite logits",
    "nan_input": "the attack returned NaN or infinite pixels",
    "budget_violation": "the attack returned an image outside its eps-ball or outside [0, 1]",
    "wrong_shape": "the model or the attack returned a tensor whose shape does not fit its input",
    "wrong_type": "the attack returned something other than a dense tensor of floats on the device of its input",
    "no_gradient": "the attack needs gradients, but the model has no gradient with respect to its input",
    "nan_gradient": "the attack needs gradients, but the gradients of the model are NaN or infinite at many images",
    "out_of_memory": "the device ran out of memory",
    "attack_error": "the attack raised an error",
    "corruption_error": "the corrupted images could not be generated or read",
    "model_changed": "the attack changed the weights or buffers of the model; they were restored",
    "model_error": "the model could not be built or raised an error",
    "training_failed": "the training of the model failed",
    "audit_error": "the audit raised an error",
    "audit_outdated": "the audit is of an earlier version, so that its flags are unknown; `bench audit` repeats it",
    "diagnosis_error": "a diagnostic raised an error",
    "prerequisite_failed": "an attack that filters the images of this attack failed",
}

#: Flags: reasons why an accuracy may not be reliable. The accuracy is still reported, and tables show its flags. The
#: first seven flags concern the model itself. The others are raised by the attacks of the audit, with the points by
#: which these attacks lower the accuracy.
FLAGS = {
    "randomised": (
        "two forward passes of the same images give logits that differ by more than rounding errors (10⁻⁴ of the "
        "largest logit); a single run of an attack is not reliable"
    ),
    "no_gradient": "the model has no finite gradient at its input; only gradient-free attacks are reliable",
    "zero_gradient": (
        "the gradient of the margin is zero at more than half of the attacked images; gradient attacks cannot change "
        "these images"
    ),
    "batch_dependent": "the logits of an image depend on the other images of its batch",
    "stateful_eval": "a forward pass in evaluation mode changes the model, or leaves a module in training mode",
    "probabilities": "the model returns probabilities instead of logits, which makes the gradients of all losses small",
    "test_time_optimization": (
        "the model computes gradients in its forward pass; defences that optimise at test time need adaptive attacks"
    ),
    "scale_masking": (
        "PGD on the float32 cross-entropy fools fewer images than the same attack on logits rescaled to a median gap "
        "of 8 nats, although rescaling changes no prediction; the logits are so large that gradients vanish in "
        "float32, or so small that all incorrect classes contribute equally to the gradient"
    ),
    "not_converged": "PGD with twice the steps fools more images: the shorter attack had not converged",
    "weaker_attack_stronger": (
        "a weaker attack fools more than 1.5 points of images that a stronger attack of the same family does not fool"
    ),
    "black_box_stronger": (
        "Square, random noise or steps towards images of other classes fool images that no gradient attack fools; the "
        "gradients are misleading"
    ),
    "transfer": (
        "adversarial images of the paired baseline (same backbone and seed) fool the model on images on which its own "
        "gradient attacks do not"
    ),
    "large_eps_survivors": (
        "at a budget that allows every image to become the same grey image, more images are correctly classified under "
        "a gradient attack than on the grey image, which the model assigns to one class only"
    ),
    "stronger_attack": "the audit's attacks fool images that no attack of the run fools",
}

#: Protocols of AutoAttack; only ``standard`` is compared with published rows.
PROTOCOLS = {
    "standard": "the attack is run on every correctly classified image, as in published results",
    "prefiltered": "the attack is run only on images that stay correct under FGSM and PGD at the same eps",
}

CLEAN = "clean"
STANDARD = "standard"
NATIVE: Final = "native"  # backend of an attack: our own implementation
REFERENCE: Final = "reference"  # backend of an attack: an independent library
BASELINE = "baseline"
MCE_REFERENCES = ("baseline", "alexnet")


def marks(flags: Iterable[str]) -> str:
    """Format flags as the marks that follow a number in printed tables and messages.

    >>> marks(["randomised"]), marks([])
    (' ⚑randomised', '')
    """
    return "".join(f" ⚑{flag}" for flag in flags)


def corruption_column(kind: str, severity: int) -> str:
    """Return the name of a corruption's cell.

    >>> corruption_column("fog", 3)
    'fog@severity-3'
    """
    return f"{kind}@severity-{severity}"


def metric_column(attack: str, norm: str | None, eps: str | None) -> str:
    """Return the name of an accuracy's column on the leaderboard.

    >>> metric_column("autoattack", "linf", "8/255"), metric_column("clean", None, None)
    ('autoattack@linf-8/255', 'clean')
    """
    return attack if norm is None else f"{attack}@{norm}-{eps}"
