"""Lines of a comparison table: one own or published model under one protocol.

The module also defines protocols, and the mismatches between protocols that exclude lines from one ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.compare.training import Training
from bench.core.epsilon import format_eps
from bench.core.vocabulary import STANDARD
from bench.core.words import pluralize

AUTOATTACK = "autoattack"
CORRUPTIONS = "corruptions"
DEEPFOOL = "deepfool"
N_STANDARD_CELLS = 75  # number of standard corruption cells: 15 kinds, 5 severities


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Protocol of a clean and a robust accuracy of one model.

    ``n_clean`` and ``n`` are the numbers of images of the clean and the robust accuracy. For a published protocol,
    ``n`` is None if the sources disagree.
    """

    dataset: str
    n: int | None
    measure: str  # label of the attack, CORRUPTIONS or DEEPFOOL
    n_clean: int | None = None
    subset: str = ""  # description of the images if they are a special list
    official: bool = True  # true if the images are the official files, by checksum
    norm: str = ""
    eps: float | None = None  # budget in units of [0, 1] pixels
    protocol: str = STANDARD
    precision: str = "fp32"  # precision of the attack's search
    source: str = ""  # source of corrupted images: generated or official
    profile: str = ""  # constants of generated corruptions
    cells: int | None = None  # number of standard kinds and severities that have an accuracy

    @property
    def title(self) -> str:
        """Title of the protocol's table, with all fields of the protocol."""
        words = [self.measure, self.norm, format_eps(self.eps) if self.eps else ""]
        images = f"{self.source} images{f' with {self.profile} constants' if self.profile else ''}"
        words += [
            images if self.source else "",
            self.protocol if self.protocol != STANDARD else "",
        ]
        words += [f"searched in {self.precision}" if self.precision != "fp32" else ""]
        count = "" if self.n is None else f", n = {self.n}"
        count += f", {self.subset}" if self.subset else ""
        if self.n_clean != self.n:
            count += ", no clean accuracy" if self.n_clean is None else f", clean n = {self.n_clean}"
        if self.measure == CORRUPTIONS and self.cells != N_STANDARD_CELLS:
            count += f", {self.cells} of {N_STANDARD_CELLS} kinds and severities"
        files = "" if self.official else ", not official files"
        return f"{self.dataset}: {' '.join(filter(None, words))}{count}{files}"


def mismatches(own: Protocol, published: Protocol) -> list[str]:
    """List the differences between an own and a published protocol as clauses; empty if both are comparable."""
    return [*_images(own, published), *_threat(own, published)]


def _images(own: Protocol, published: Protocol) -> list[str]:
    differences = []
    if own.dataset != published.dataset:
        differences.append(f"{own.dataset} is not {published.dataset}")
    if published.official and not own.official:
        differences.append("not the official files, by checksum")
    if published.n is None:
        differences.append(f"published on an unclear number of images: {published.subset}")
    elif own.n != published.n:
        differences.append(f"n = {own.n}, published on {published.n:,}")
    elif published.subset:
        differences.append(f"published on {published.subset}")
    if None not in (published.n_clean, own.n) and own.n_clean not in (published.n_clean, own.n):
        differences.append(_clean(own, published))
    return differences


def _clean(own: Protocol, published: Protocol) -> str:
    text = f"published on {published.n_clean:,}"
    return f"no clean accuracy, {text}" if own.n_clean is None else f"clean n = {own.n_clean}, {text}"


def _threat(own: Protocol, published: Protocol) -> list[str]:
    differences = [] if own.measure == published.measure else [f"{own.measure} is not {published.measure}"]
    if own.norm != published.norm:
        differences.append(f"{own.norm or 'no norm'} is not {published.norm or 'without a norm'}")
    elif own.eps != published.eps and own.eps is not None and published.eps is not None:
        differences.append(f"eps {format_eps(own.eps)}, published at {format_eps(published.eps)}")
    if own.protocol != published.protocol:
        differences.append(f"protocol {own.protocol}, published as {published.protocol}")
    if own.precision != published.precision:
        differences.append(
            f"searched in {own.precision}, which may miss adversarial images that {published.precision} finds"
        )
    return [*differences, *_corrupted(own, published)]


def _corrupted(own: Protocol, published: Protocol) -> list[str]:
    if CORRUPTIONS not in (own.measure, published.measure) or own.measure != published.measure:
        return []
    differences = []
    if own.source != published.source:
        differences.append(f"corrupted images {own.source}, published on the {published.source} files")
    if own.cells != published.cells:
        differences.append(f"{own.cells} of the {published.cells} standard kinds and severities")
    return differences


def leaked_text(leaked: int | None) -> str:
    """Describe the number of test images that are also in the training split; empty if there are none.

    >>> leaked_text(1), leaked_text(0)
    ('1 test image is also in the training split', '')
    """
    verb = "is" if leaked == 1 else "are"
    return f"{pluralize(leaked, 'test image')} {verb} also in the training split" if leaked else ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Numbers of one model under one protocol.

    Accuracies are percent. ``robust`` is the lowest known robust accuracy, as on the boards of RobustBench: over all
    attacks within the same budget, including attacks of the audit. For DeepFool, ``robust`` is the ratio ‖r‖/‖x‖.
    ``autoattack`` is the accuracy under AutoAttack alone. Own lines with different attacks are ranked by ``alone``.
    """

    published: bool
    model: str
    architecture: str
    source: str  # origin of the numbers
    clean: float | None
    robust: float | None
    protocol: Protocol
    definition: str = ""  # hash of the settings of our attack or our corrupted images; empty for a published line
    autoattack: float | None = None
    alone: float | None = None  # accuracy under the protocol's attack alone, if ``robust`` includes more attacks
    tried: str = ""  # hash of all attacks that ``robust`` includes
    flags: tuple[str, ...] = ()  # flags of the robust accuracy
    acquitted: bool = False  # true if the robust accuracy passed an audit
    audit_lacks: bool = False  # true if the audit failed, or only some of the seeds were audited
    at_chance: bool = False  # true if the clean accuracy of any seed is at chance level
    collapse: str = ""  # collapse status of a variant that is meant to collapse
    leaked: int | None = None  # number of test images that are also in the training split; None if unknown
    notes: tuple[str, ...] = ()
    training: Training | None = None  # set for own networks and for numbers that belong to one recipe

    @property
    def network_notes(self) -> tuple[str, ...]:
        """Notes on the network and the test images that apply to all numbers of this line."""
        return tuple(filter(None, (self.collapse, leaked_text(self.leaked))))

    @property
    def bound(self) -> str:
        """Prefix "≤" if the accuracy is flagged and therefore only an upper bound, otherwise empty."""
        return "≤" if self.flags and self.robust is not None and self.protocol.measure != CORRUPTIONS else ""
