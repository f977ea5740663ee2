"""Probe a network that was trained elsewhere for a wrong normalisation and a wrong class order.

Clean accuracy on a few images is compared with that under other common preprocessing, and under other class orders.
Another choice is reported under three conditions:

- it is better by more than :data:`MARGIN`: smaller gains hardly change a result;
- the exact McNemar test on the same images gives p < :data:`ALPHA`: smaller gains may be luck. ALPHA is smaller than
  usual because the best of about ten alternatives is reported. It is not divided by their number: under the right
  preprocessing the alternatives are not as good but worse, so that false alarms are much rarer than ALPHA. A false
  alarm costs one option, a miss makes every number wrong;
- the network then shows some skill: its accuracy lies :data:`SKILL` of the way, or :data:`SKILL_OF_FIT` for a fitted
  class order, from that of the most frequent class to 1. For a class order, this means that the confusion matrix is
  nearly a permutation. The features of an untrained network tell classes apart to
  some degree, and without this condition it would be told to change its preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.chance import chance_notes, majority_of
from bench.core.errors import BenchError
from bench.core.specs import Preprocessing
from bench.core.words import counted
from bench.data.split import Moments
from bench.external.preprocessing import Preprocessed
from bench.external.reordering import Bools, Ints, Reordering, classes_of, fitted_order, sorted_orders
from bench.external.trials import (
    Alternative,
    Trial,
    alternatives_to,
    name_of,
    try_alternatives,
    try_preprocessing,
)
from bench.statistics.paired import compare

PROBE_IMAGES = 256
MARGIN = 0.05  # of clean accuracy
ALPHA = 0.01  # of McNemar's exact test
SKILL, SKILL_OF_FIT = 0.2, 0.5
SHOWN = 3  # reassigned outputs, or class names, in a message

CLASS_NAMES, CLASS_ORDER, TRUST = "--class-names FILE", "--class-order", "--trust-normalization"


@dataclass(frozen=True)
class ProbeReport:
    """Clean accuracy under the declared preprocessing and its alternatives, and a better class order, if any."""

    declared: Trial
    others: tuple[Trial, ...]
    problem: str  # one sentence that says what is probably wrong, with the way out; empty if nothing is
    class_order: tuple[int, ...] | None = None  # the better one, if it is the problem: output k is class class_order[k]
    remarks: tuple[str, ...] = ()  # on what could not be tried

    @property
    def n(self) -> int:
        return len(self.declared.correct)

    @property
    def lines(self) -> list[str]:
        """A table for the progress output: accuracy by preprocessing, the declared one first."""
        rows = [(f"{self.declared.name} (declared)", self.declared.accuracy)]
        rows += [(trial.name, trial.accuracy) for trial in sorted(self.others, key=lambda t: -t.accuracy)]
        width = max(len(name) for name, _ in rows)
        table = [f"  {name:<{width}}  {_percent(accuracy):>7}" for name, accuracy in rows]
        return [
            f"clean accuracy on {counted(self.n, 'probe image')} by preprocessing:",
            *table,
            *(f"  {remark}" for remark in self.remarks),
        ]

    @property
    def as_notes(self) -> tuple[str, ...]:
        """Notes for every row of the network."""
        best = max(self.others, key=lambda trial: trial.accuracy, default=None)
        beside = f"; best of {len(self.others)} others: {best.name}, {_percent(best.accuracy)}" if best else ""
        declared = f"{_percent(self.declared.accuracy)} under {self.declared.name}"
        note = f"probe of {counted(self.n, 'image')}: {declared}{beside}"
        return (note, *self.remarks, *([f"probe: {self.problem.rstrip('.')}"] if self.problem else []))


def probe(
    network: nn.Module,
    preprocessing: Preprocessing,
    images: Tensor,
    labels: Tensor,
    *,
    class_names: Sequence[str] | None = None,
    train_moments: Moments | None = None,
    num_classes: int | None = None,
    config_size: int | None = None,
) -> ProbeReport:
    """Compare the clean accuracy of ``network`` under ``preprocessing`` with that under alternatives.

    ``network`` is in evaluation mode and on the device of ``images``, (N, 3, S, S) float32 in [0, 1]. ``class_names``
    and ``train_moments`` are those of the data set. ``config_size`` is the input size in the network's own
    configuration, if images are not resized to it. ``num_classes`` defaults to the number of the names, or that in the
    labels. Raises BenchError if the network has another number of outputs.
    """
    truth: Ints = labels.cpu().numpy().astype(np.int64)
    classes = num_classes or len(class_names or ()) or int(truth.max()) + 1
    _check_outputs(network, preprocessing, images, classes)
    order = np.array(preprocessing.class_order or range(classes))
    plain = replace(preprocessing, class_order=None)
    declared = try_preprocessing(network, Alternative(name_of(plain), "", plain), images, truth, order)
    alternatives = alternatives_to(plain, images, train_moments, config_size)
    size = plain.input_size or int(images.shape[-1])
    others, remarks = try_alternatives(network, alternatives, images, truth, order, size)
    if len(truth) < 2 * classes:
        few = f"{counted(len(truth), 'probe image')} of {counted(classes, 'class', 'classes')}"
        remarks.append(f"{few} are too few to check the class order, except for sorted class names")
    problem, found = _problem(declared, others, truth, order, class_names or ())
    return ProbeReport(declared, tuple(others), problem, found, tuple(remarks))


def _check_outputs(network: nn.Module, preprocessing: Preprocessing, images: Tensor, num_classes: int) -> None:
    """Raise BenchError unless the network has one output for each class, and the class order one entry."""
    with torch.no_grad():
        logits = Preprocessed(network, replace(preprocessing, class_order=None)).to(images.device)(images[:1])
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise BenchError(
            f"the network's output for one image has shape {tuple(logits.shape)}, but the data set has "
            f"{counted(num_classes, 'class', 'classes')}; it must be (1, {num_classes}). Choose "
            "the data set that the network was trained on, or replace its last layer and train it."
        )
    order = preprocessing.class_order
    if order is not None and sorted(order) != list(range(num_classes)):
        raise BenchError(f"the class order {order} must have each of the classes 0…{num_classes - 1} once.")


def _problem(
    declared: Trial, others: Sequence[Trial], truth: Ints, order: Ints, names: Sequence[str]
) -> tuple[str, tuple[int, ...] | None]:
    """Return the problem in a sentence, and the better class order if that is the problem.

    Both a preprocessing and a class order may be better than the declared ones: then the more accurate of the two is
    reported. If neither is, and the network is at chance, both may be wrong, and class orders are tried under every
    preprocessing.
    """
    trial = max(
        (t for t in others if _is_better(declared.correct, t.correct, truth, SKILL)),
        key=lambda t: t.accuracy,
        default=None,
    )
    other_order = _better_order(declared, declared, truth, order, names)
    if other_order and (trial is None or other_order.after.mean() > trial.correct[other_order.tested].mean()):
        return _order_sentence(other_order, declared, declared, order, names), other_order.order
    if trial is not None:
        return _preprocessing_sentence(declared, trial), None
    if _at_chance(classes_of(declared.outputs, order), truth):
        pairs = [(t, found) for t in others if (found := _better_order(t, declared, truth, order, names))]
        if pairs:
            trial, other_order = max(pairs, key=lambda pair: float(pair[1].after.mean()))
            return _order_sentence(other_order, trial, declared, order, names), other_order.order
    return "", None


def _better_order(trial: Trial, declared: Trial, truth: Ints, order: Ints, names: Sequence[str]) -> Reordering | None:
    """Return the class order in which ``trial`` is clearly better than ``declared`` in the declared order, if any."""
    candidates = sorted_orders(trial.outputs, truth, names)
    fitted = fitted_order(trial.outputs, truth, order)
    better = [
        found
        for found in [*candidates, *([fitted] if fitted else [])]
        if _is_better(
            declared.correct[found.tested],
            found.after,
            truth[found.tested],
            SKILL if found.sorting else SKILL_OF_FIT,
        )
    ]
    return max(better, key=lambda found: found.after.mean() + MARGIN * bool(found.sorting), default=None)


def _is_better(before: Bools, after: Bools, truth: Ints, skill: float) -> bool:
    """Whether ``after`` meets the three conditions; all (images,), ``truth`` are the labels."""
    share = float(np.bincount(truth).max() / len(truth))
    paired = compare(before, after)
    return paired.difference > MARGIN and paired.p < ALPHA and float(after.mean()) >= share + skill * (1 - share)


def _at_chance(predicted: Ints, truth: Ints) -> bool:
    constant = len(set(predicted.tolist())) == 1
    correct = int((predicted == truth).sum())
    return bool(chance_notes(correct, len(truth), majority_of(predicted, truth), constant=constant))


def _preprocessing_sentence(declared: Trial, better: Trial) -> str:
    return (
        f"clean accuracy on {counted(len(declared.correct), 'probe image')} is {_percent(declared.accuracy)} under the "
        f"declared preprocessing ({declared.name}) and {_percent(better.accuracy)} under {better.name}; "
        f"{better.way_out}, or {TRUST} to go on as declared."
    )


def _order_sentence(found: Reordering, trial: Trial, declared: Trial, order: Ints, names: Sequence[str]) -> str:
    """Compare ``declared`` in the declared class order with ``trial`` in the order ``found``."""
    before = _percent(float(declared.correct[found.tested].mean()))
    called = [repr(name) for name in names] or [f"class {k}" for k in range(len(order))]
    if found.sorting:
        first = ", ".join(called[k] for k in found.order[:SHOWN])
        which = f"with the class names in {found.sorting} order ({first}, …)"
        in_folders = f" (for a folder of images also {CLASS_ORDER} {found.sorting})"
    else:
        moved = np.flatnonzero(np.array(found.order) != order)
        pairs = [f"output {k} is {called[found.order[k]]}, not {called[order[k]]}" for k in moved[:SHOWN]]
        more = [f"{len(moved) - SHOWN} more"] if len(moved) > SHOWN else []
        which = f"with another that was fitted on the other images ({', '.join([*pairs, *more])})"
        in_folders = ""
    preprocessing = f" and the preprocessing {trial.name}" if trial.way_out else ""
    way_out = f"{trial.way_out} and " if trial.way_out else "give "
    return (
        f"clean accuracy on {counted(len(found.tested), 'probe image')} is {before} in the declared class order and "
        f"{_percent(found.after.mean())} {which}{preprocessing}; {way_out}{CLASS_NAMES} with the names in the order of "
        f"the network's outputs{in_folders}, or {TRUST} to go on as declared."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
