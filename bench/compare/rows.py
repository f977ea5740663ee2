"""A line of a table: one model under one protocol, ours or published.

Protocols of published and own accuracies, and the mismatches that forbid ranking two of them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.epsilon import format_eps
from bench.core.vocabulary import STANDARD
from bench.core.words import pluralize

AUTOATTACK = "autoattack"
CORRUPTIONS = "corruptions"
DEEPFOOL = "deepfool"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Protocol of a clean and a robust accuracy of one model.

    ``n_clean`` and ``n`` are the images behind each. A published ``n`` of None is one that its authors do not settle.
    """

    dataset: str
    n: int | None
    measure: str  # label of the attack, or CORRUPTIONS, or DEEPFOOL
    n_clean: int | None = None
    subset: str = ""  # which images, in words, where they are a list of the publisher's own
    official: bool = True  # the images are the official files, by checksum
    norm: str = ""
    eps: float | None = None  # in units of [0, 1] pixels
    protocol: str = STANDARD
    precision: str = "fp32"  # of the search
    source: str = ""  # of corrupted images: generated or official
    cells: int | None = None  # how many of the standard kinds and severities have an accuracy

    @property
    def title(self) -> str:
        """One line that names all of it."""
        words = [self.measure, self.norm, format_eps(self.eps) if self.eps else ""]
        words += [f"{self.source} images" if self.source else "", self.protocol if self.protocol != STANDARD else ""]
        words += [f"searched in {self.precision}" if self.precision != "fp32" else ""]
        count = "" if self.n is None else f", n = {self.n}"
        count += f", {self.subset}" if self.subset else ""
        files = "" if self.official else ", not official files"
        return f"{self.dataset}: {' '.join(filter(None, words))}{count}{files}"


def mismatches(ours: Protocol, theirs: Protocol) -> list[str]:
    """List the differences between our protocol and theirs, each as a clause; empty if the numbers are comparable."""
    return [*_images(ours, theirs), *_threat(ours, theirs)]


def _images(ours: Protocol, theirs: Protocol) -> list[str]:
    found = []
    if ours.dataset != theirs.dataset:
        found.append(f"{ours.dataset} is not {theirs.dataset}")
    if theirs.official and not ours.official:
        found.append("not the official files, by checksum")
    if theirs.n is None:
        found.append(f"published on an unsettled number of images: {theirs.subset}")
    elif ours.n != theirs.n:
        found.append(f"n = {ours.n}, published on {theirs.n:,}")
    elif theirs.subset:
        found.append(f"published on {theirs.subset}")
    if None not in (theirs.n_clean, ours.n) and ours.n_clean not in (theirs.n_clean, ours.n):
        found.append(_clean(ours, theirs))
    return found


def _clean(ours: Protocol, theirs: Protocol) -> str:
    published = f"published on {theirs.n_clean:,}"
    return f"no clean accuracy, {published}" if ours.n_clean is None else f"clean n = {ours.n_clean}, {published}"


def _threat(ours: Protocol, theirs: Protocol) -> list[str]:
    found = [] if ours.measure == theirs.measure else [f"{ours.measure} is not {theirs.measure}"]
    if ours.norm != theirs.norm:
        found.append(f"{ours.norm or 'no norm'} is not {theirs.norm or 'without a norm'}")
    elif ours.eps != theirs.eps and ours.eps is not None and theirs.eps is not None:
        found.append(f"eps {format_eps(ours.eps)}, published at {format_eps(theirs.eps)}")
    if ours.protocol != theirs.protocol:
        found.append(f"protocol {ours.protocol}, published as {theirs.protocol}")
    if ours.precision != theirs.precision:
        found.append(f"searched in {ours.precision}, which can only miss what {theirs.precision} breaks")
    return [*found, *_corrupted(ours, theirs)]


def _corrupted(ours: Protocol, theirs: Protocol) -> list[str]:
    if CORRUPTIONS not in (ours.measure, theirs.measure) or ours.measure != theirs.measure:
        return []
    found = []
    if ours.source != theirs.source:
        found.append(f"corrupted images {ours.source}, published on the {theirs.source} files")
    if ours.cells != theirs.cells:
        found.append(f"{ours.cells} of the {theirs.cells} standard kinds and severities")
    return found


def leaked_text(leaked: int | None) -> str:
    """Describe test images that the network may have been trained on; empty without any.

    >>> leaked_text(1), leaked_text(0)
    ('1 test image is also in the training split', '')
    """
    verb = "is" if leaked == 1 else "are"
    return f"{pluralize(leaked, 'test image')} {verb} also in the training split" if leaked else ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Accuracies are percent; the robust one of DeepFool is its ratio ‖r‖/‖x‖.

    ``robust`` is the lowest known, as on RobustBench's boards: an image that any other attack within the same budget
    has broken counts, the audit's included, and ``autoattack`` keeps the accuracy under AutoAttack alone. Lines of ours
    that went through other attacks than each other are ranked by ``alone``.
    """

    published: bool
    model: str
    architecture: str
    source: str  # who measured it, where it stands
    clean: float | None
    robust: float | None
    protocol: Protocol
    autoattack: float | None = None
    alone: float | None = None  # accuracy under the protocol's attack alone, if ``robust`` counts more attacks
    tried: str = ""  # hash of all attacks that ``robust`` counts
    flags: tuple[str, ...] = ()  # what speaks against the robust accuracy
    acquitted: bool = False  # by an audit that would have flagged it
    at_chance: bool = False  # the clean accuracy of a seed, so that the robust one is worth nothing
    collapse: str = ""  # collapse status of a variant that is meant to collapse
    leaked: int | None = None  # test images that are also in the training split; None: not known
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes on the network and the test images that apply to any number of this line."""
        return tuple(filter(None, (self.collapse, leaked_text(self.leaked))))

    @property
    def bound(self) -> str:
        """Prefix "≤" of a flagged accuracy under attack, which is only an upper bound; otherwise empty."""
        return "≤" if self.flags and self.robust is not None and self.protocol.measure != CORRUPTIONS else ""
