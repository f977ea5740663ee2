"""Two looks at the same images, in three forms, and what each says of the accuracy that was lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.statistics.accuracy_drop import Bounds, mean_bounds, verdict_bounds


class Evidence(Protocol):
    """Evidence for a verdict; accuracies and drops are fractions."""

    @property
    def unit(self) -> Literal["images", "seeds"]:
        """Unit of ``size``: more images, or more seeds, would make the bounds narrower."""

    @property
    def size(self) -> int:
        """Number of images or seeds, see ``unit``."""

    @property
    def drop(self) -> float:
        """Accuracy before less accuracy after."""

    @property
    def unchanged(self) -> bool:
        """Whether no image of any seed changed."""

    def all_wrong(self) -> Self:
        """The same before, and every image misclassified after."""

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return the bounds of the drop at one-sided level ``alpha``.

        With another ``size`` than its own, the bounds are those that would hold if all shares stayed the same.
        """


@dataclass(frozen=True)
class Verdicts:
    """Two networks on the same images, every image right or wrong."""

    lost: int
    gained: int
    n: int
    right: int  # images that were right before
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        return replace(self, lost=self.right, gained=0)

    @property
    def size(self) -> int:
        return self.n

    @property
    def drop(self) -> float:
        return (self.lost - self.gained) / self.n

    @property
    def unchanged(self) -> bool:
        return not self.lost + self.gained

    def bounds(self, alpha: float, size: int) -> Bounds:
        lost = round(self.lost * size / self.n)
        return verdict_bounds(lost, min(round(self.gained * size / self.n), size - lost), size, alpha)


@dataclass(frozen=True)
class Shares:
    """Two networks on the same images, every image right in a share of several cells: the mean over corruptions."""

    before: NDArray[np.float64]  # (images,)
    after: NDArray[np.float64]  # (images,)
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        return len(self.before)

    @property
    def drop(self) -> float:
        return float((self.before - self.after).mean())

    @property
    def unchanged(self) -> bool:
        return bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return Student's bounds of the drop for ``size`` images, as for two tables of one seed each."""
        low, high = mean_bounds(self.before[np.newaxis], self.after[np.newaxis], alpha)
        narrower = (self.size / size) ** 0.5
        return Bounds(self.drop + (low - self.drop) * narrower, self.drop + (high - self.drop) * narrower)


@dataclass(frozen=True)
class Trainings:
    """Other weights: several seeds before and several after, on the same images."""

    before: NDArray[np.float64]  # (seeds, images)
    after: NDArray[np.float64]  # (other seeds, images)
    unit: Literal["images", "seeds"] = "seeds"

    def all_wrong(self) -> Self:
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        return min(len(self.before), len(self.after))

    @property
    def drop(self) -> float:
        return float(self.before.mean() - self.after.mean())

    @property
    def unchanged(self) -> bool:
        return self.before.shape == self.after.shape and bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        return mean_bounds(self.before, self.after, alpha, 0 if size == self.size else size)
