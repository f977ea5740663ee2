"""Check on a few images if the declared normalisation or class order of an external network is wrong.

Clean accuracy is measured under the declared preprocessing, under other common preprocessings, and under other class
orders. An alternative is reported if it meets all three conditions:

- Its accuracy is higher by more than :data:`MARGIN`. Smaller gains hardly change a result.
- McNemar's exact test on the same images gives p < :data:`ALPHA`. Otherwise the gain may be chance. ALPHA is smaller
  than usual because the best of about ten alternatives is reported. ALPHA is not divided by their number: if the
  declared preprocessing is correct, the alternatives are worse, so false alarms are much rarer than ALPHA. After a
  false alarm the user has to add one option. A missed error makes every number wrong.
- The network is clearly better than chance under the alternative: its accuracy is at least m + SKILL × (1 − m), where m
  is the share of the most frequent class. SKILL is :data:`SKILL`, or :data:`SKILL_OF_FIT` for a fitted class order,
  whose confusion matrix must be nearly a permutation. Without this condition untrained networks would cause false
  alarms, because their features separate the classes to some degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line
from bench.core.specs import Preprocessing
from bench.core.words import pluralize
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
    with_stem,
)
from bench.results.chance_level import chance_notes, majority_of
from bench.statistics.paired import compare

PROBE_IMAGES = 256
MARGIN = 0.05  # minimum difference in clean accuracy
ALPHA = 0.01  # significance level of McNemar's exact test
SKILL, SKILL_OF_FIT = 0.2, 0.5
SHOWN = 3  # maximum number of reassigned outputs or class names in a message

PROBLEM = "probe: "  # prefix of the note on a problem

CLASS_NAMES, CLASS_ORDER, TRUST = "--class-names FILE", "--class-order", "--trust-normalization"


@dataclass(frozen=True)
class ProbeReport:
    """Clean accuracy under the declared preprocessing and its alternatives, and a better class order if one exists."""

    declared: Trial
    others: tuple[Trial, ...]
    problem: str  # the probable error and how to fix it, in one sentence; empty without an error
    class_order: tuple[int, ...] | None = None  # better class order, if any: output k is class class_order[k]
    notes: tuple[str, ...] = ()  # alternatives that could not be tried

    @property
    def n(self) -> int:
        """Number of probe images."""
        return len(self.declared.correct)

    @property
    def lines(self) -> list[str]:
        """Lines of a table of accuracy by preprocessing. The declared preprocessing is first."""
        rows = [(f"{self.declared.name} (declared)", self.declared.accuracy)]
        rows += [(trial.name, trial.accuracy) for trial in sorted(self.others, key=lambda t: -t.accuracy)]
        width = max(len(name) for name, _ in rows)
        table = [f"  {name:<{width}}  {_percent(accuracy):>7}" for name, accuracy in rows]
        return [
            f"clean accuracy on {pluralize(self.n, 'probe image')} by preprocessing:",
            *table,
            *(f"  {line}" for line in self.notes),
        ]

    @property
    def as_notes(self) -> tuple[str, ...]:
        """Notes for every row of the network."""
        best = max(self.others, key=lambda trial: trial.accuracy, default=None)
        comparison = f"; best of {len(self.others)} others: {best.name}, {_percent(best.accuracy)}" if best else ""
        declared = f"{_percent(self.declared.accuracy)} under {self.declared.name}"
        note = f"probe of {pluralize(self.n, 'image')}: {declared}{comparison}"
        return (note, *self.notes, *([PROBLEM + self.problem.rstrip(".")] if self.problem else []))


def has_problem(notes: Sequence[str]) -> bool:
    """Return whether the notes of a stored run mention a problem that a probe reported."""
    return any(note.startswith(PROBLEM) for note in notes)


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
    other_stem: tuple[str, nn.Module] | None = None,
) -> ProbeReport:
    """Compare the clean accuracy of ``network`` under ``preprocessing`` and under alternatives.

    ``network`` must be in evaluation mode and on the device of ``images``, (N, 3, S, S) float32 in [0, 1].
    ``class_names`` and ``train_moments`` belong to the data set. ``config_size`` is the input size in the network's
    configuration, if images are not resized to this size. ``other_stem`` is the name of another stem for which the
    weights fit, and the network with this stem. ``num_classes`` defaults to the number of class names, or else to the
    largest label + 1.

    Raise BenchError if the network has a different number of outputs.
    """
    truth: Ints = labels.cpu().numpy().astype(np.int64)
    classes = num_classes or len(class_names or ()) or int(truth.max()) + 1
    _check_outputs(network, preprocessing, images, classes)
    order = np.array(preprocessing.class_order or range(classes))
    plain = replace(preprocessing, class_order=None)
    declared = try_preprocessing(network, Alternative(name_of(plain), "", plain), images, truth, order)
    alternatives = alternatives_to(plain, images, train_moments, config_size)
    if other_stem is not None:
        alternatives = chain(alternatives, [with_stem(plain, *other_stem)])
    size = plain.input_size or int(images.shape[-1])
    trials, notes = try_alternatives(network, alternatives, images, truth, order, size)
    if len(truth) < 2 * classes:
        counts = f"{pluralize(len(truth), 'probe image')} of {pluralize(classes, 'class', 'classes')}"
        notes.append(f"{counts} are too few to check the class order; only sorted class names can be checked")
    problem, reordering = _problem(declared, trials, truth, order, class_names or ())
    return ProbeReport(declared, tuple(trials), problem, reordering, tuple(notes))


def _check_outputs(network: nn.Module, preprocessing: Preprocessing, images: Tensor, num_classes: int) -> None:
    """Raise BenchError unless the network has one output, and the class order one entry, for each class."""
    plain = Preprocessed(network, replace(preprocessing, class_order=None)).to(images.device)
    try:
        with torch.no_grad():
            logits = plain(images[:1])
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"the network cannot classify an image of shape {tuple(images.shape[1:])} ({type(error).__name__}: "
            f"{first_line(error)}); it must take images (N, 3, S, S) in [0, 1], or after --input-size and --normalize."
        ) from error
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise BenchError(
            f"the network's output for one image has shape {tuple(logits.shape)}, but the data set has "
            f"{pluralize(num_classes, 'class', 'classes')}; it must be (1, {num_classes}). Choose "
            "the data set that the network was trained on, or replace its last layer and train it."
        )
    order = preprocessing.class_order
    if order is not None and sorted(order) != list(range(num_classes)):
        raise BenchError(f"the class order {order} must have each of the classes 0…{num_classes - 1} once.")


def _problem(
    declared: Trial, trials: Sequence[Trial], truth: Ints, order: Ints, names: Sequence[str]
) -> tuple[str, tuple[int, ...] | None]:
    """Return the problem in one sentence (empty if there is none), and the better class order if there is one.

    If both another preprocessing and another class order are better, the more accurate alternative is reported. If
    none is better and the network is at chance level, both may be wrong. In this case, class orders are tried under
    every preprocessing.
    """
    trial = max(
        (t for t in trials if _is_better(declared.correct, t.correct, truth, SKILL)),
        key=lambda t: t.accuracy,
        default=None,
    )
    other_order = _better_order(declared, declared, truth, order, names)
    if other_order and (trial is None or other_order.after.mean() > trial.correct[other_order.tested].mean()):
        return _order_sentence(other_order, declared, declared, order, names), other_order.order
    if trial is not None:
        return _preprocessing_sentence(declared, trial), None
    if _at_chance(classes_of(declared.outputs, order), truth):
        pairs = [(t, reordering) for t in trials if (reordering := _better_order(t, declared, truth, order, names))]
        if pairs:
            trial, other_order = max(pairs, key=lambda pair: float(pair[1].after.mean()))
            return _order_sentence(other_order, trial, declared, order, names), other_order.order
    return "", None


def _better_order(trial: Trial, declared: Trial, truth: Ints, order: Ints, names: Sequence[str]) -> Reordering | None:
    """Return the best class order for which ``trial`` clearly beats ``declared`` in the declared order, if any."""
    candidates = sorted_orders(trial.outputs, truth, names)
    fitted = fitted_order(trial.outputs, truth, order)
    better = [
        reordering
        for reordering in [*candidates, *([fitted] if fitted else [])]
        if _is_better(
            declared.correct[reordering.tested],
            reordering.after,
            truth[reordering.tested],
            SKILL if reordering.sorting else SKILL_OF_FIT,
        )
    ]
    return max(better, key=lambda reordering: reordering.after.mean() + MARGIN * bool(reordering.sorting), default=None)


def _is_better(before: Bools, after: Bools, truth: Ints, skill: float) -> bool:
    """Return whether ``after`` meets the conditions in the module docstring. ``truth`` are the labels. All are (N,)."""
    share = float(np.bincount(truth).max() / len(truth))
    paired = compare(before, after)
    return paired.difference > MARGIN and paired.p < ALPHA and float(after.mean()) >= share + skill * (1 - share)


def _at_chance(predicted: Ints, truth: Ints) -> bool:
    constant = len(set(predicted.tolist())) == 1
    correct = int((predicted == truth).sum())
    return bool(chance_notes(correct, len(truth), majority_of(predicted, truth), constant=constant))


def _preprocessing_sentence(declared: Trial, better: Trial) -> str:
    return (
        f"clean accuracy on {pluralize(len(declared.correct), 'probe image')} is {_percent(declared.accuracy)} under "
        f"the declared preprocessing ({declared.name}) and {_percent(better.accuracy)} under {better.name}; "
        f"{better.way_out}, or {TRUST} to keep the declared one."
    )


def _order_sentence(reordering: Reordering, trial: Trial, declared: Trial, order: Ints, names: Sequence[str]) -> str:
    """Compare ``declared`` in the declared class order with ``trial`` in the order ``reordering``."""
    before = _percent(float(declared.correct[reordering.tested].mean()))
    called = [repr(name) for name in names] or [f"class {k}" for k in range(len(order))]
    if reordering.sorting:
        first = ", ".join(called[k] for k in reordering.order[:SHOWN])
        which = f"with the class names in {reordering.sorting} order ({first}, …)"
        in_folders = f" (for a folder of images also {CLASS_ORDER} {reordering.sorting})"
    else:
        moved = np.flatnonzero(np.array(reordering.order) != order)
        pairs = [f"output {k} is {called[reordering.order[k]]}, not {called[order[k]]}" for k in moved[:SHOWN]]
        omitted = [f"{len(moved) - SHOWN} more"] if len(moved) > SHOWN else []
        which = f"in an order that was fitted on the remaining probe images ({', '.join([*pairs, *omitted])})"
        in_folders = ""
    preprocessing = f" and the preprocessing {trial.name}" if trial.way_out else ""
    way_out = f"{trial.way_out} and " if trial.way_out else "give "
    return (
        f"clean accuracy on {pluralize(len(reordering.tested), 'probe image')} is {before} in the declared class order "
        f"and {_percent(reordering.after.mean())} {which}{preprocessing}; {way_out}{CLASS_NAMES} with the names in the "
        f"order of the network's outputs{in_folders}, or {TRUST} to keep the declared one."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
