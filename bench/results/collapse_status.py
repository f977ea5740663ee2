"""Determine whether a network that was trained to collapse has collapsed. Does not import torch.

Two criteria must hold. First, the within-class variability on the training images (NC1, Papyan et al. 2020, arXiv
2008.08186) is at most a tenth of the NC1 of the same training without the penalty. Second, the training accuracy is at
least 99 %, because neural collapse is defined for the terminal phase of training, where the training error is about 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from bench.core.records import DiagnosisRecord, RunRecord
from bench.models.variants import VARIANTS, has_collapse_penalty

NC1: Final = "collapse_nc1_train"
ACCURACY: Final = "train_acc"

#: Maximum ratio of the training NC1 of a collapsed network to the training NC1 of the reference.
MOST_NC1: Final = 0.1
#: Minimum training accuracy of a collapsed network.
LEAST_ACCURACY: Final = 0.99
#: Reference variants for NC1, in order of preference: the same layers without the penalty, then the plain network.
REFERENCES: Final = ("lin_pen", "baseline")

COLLAPSED: Final = "collapsed"
NOT_COLLAPSED: Final = "not collapsed"
NOT_MEASURED: Final = "collapse not measured"
Word = Literal["collapsed", "not collapsed", "collapse not measured"]

ADVICE: Final = (
    "Train for more epochs (--epochs), with another --recipe, so that γ grows further, or with a larger --lr; "
    "without a collapse the run gives no evidence about collapse."
)


class Collapse(NamedTuple):
    """Collapse status of one or several networks, and its reason."""

    word: Word
    why: str = ""

    @property
    def text(self) -> str:
        """Status with its reason, as in the column ``collapse``."""
        return f"{self.word}: {self.why}" if self.why else self.word


class Reference(NamedTuple):
    """Variant and training NC1 of the reference network, which was trained without the penalty."""

    variant: str
    nc1: float


def is_trained_to_collapse(run: RunRecord) -> bool:
    """Check whether the variant of the run has a collapse penalty.

    The value recorded in training is used if there is one, and otherwise the value of the registered variant. For a
    network that was trained elsewhere, the user names the variant.
    """
    if run.spec is None:
        return run.variant in VARIANTS and VARIANTS.get(run.variant).has_collapse_penalty
    if run.collapse_penalty is not None:
        return run.collapse_penalty
    return has_collapse_penalty(run.variant, run.spec.variant_spec)


def training_nc1(diagnosis: DiagnosisRecord | None) -> float | None:
    """Return the NC1 on the training images; None if it was not measured."""
    return None if diagnosis is None else diagnosis.values.get(NC1)


def diagnosed_accuracy(diagnosis: DiagnosisRecord | None) -> float | None:
    """Return the accuracy of the final weights on training images as a fraction; None if it was not measured.

    It is measured in evaluation mode and without augmentation.
    """
    return None if diagnosis is None else diagnosis.values.get(ACCURACY)


def collapse_of(diagnosis: DiagnosisRecord | None, reference: Reference | None) -> Collapse:
    """Return the status of one network. A failed criterion is reported even if the other one was not measured."""
    nc1, accuracy = training_nc1(diagnosis), diagnosed_accuracy(diagnosis)
    fails, missing = [], []
    if nc1 is None:
        missing.append("no training NC1")
    elif reference is None:
        missing.append(f"no training NC1 of {' or '.join(REFERENCES)} to compare its NC1 {nc1:.3g} with")
    elif nc1 > MOST_NC1 * reference.nc1:
        fails.append(_too_wide(nc1, reference))
    if accuracy is None:
        missing.append("no diagnosed training accuracy")
    elif accuracy < LEAST_ACCURACY:
        fails.append(f"training accuracy {100 * accuracy:.4g} % is below {100 * LEAST_ACCURACY:g} %")
    if fails:
        return Collapse(NOT_COLLAPSED, ", ".join(fails))
    return Collapse(NOT_MEASURED, ", ".join(missing)) if missing else Collapse(COLLAPSED)


def _too_wide(nc1: float, reference: Reference) -> str:
    ratio = f"{nc1 / reference.nc1:.2f}× of " if reference.nc1 else "above "
    return f"NC1 {nc1:.3g} is {ratio}{reference.variant}'s {reference.nc1:.3g} (at most {MOST_NC1}×)"


def over_seeds(by_seed: Mapping[int, Collapse]) -> Collapse:
    """Return the status over seeds: the worst status of any seed, with the reasons of all seeds with this status."""
    for word in (NOT_COLLAPSED, NOT_MEASURED):
        reasons = {seed: status.why for seed, status in sorted(by_seed.items()) if status.word == word}
        if reasons:
            texts = (f"seed {seed}: {why}" if len(by_seed) > 1 else why for seed, why in reasons.items())
            return Collapse(word, "; ".join(texts))
    return Collapse(COLLAPSED)
