"""Levels of an audit: the default level of every run, and the full level for ``bench audit --full``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

LevelName = Literal["default", "full"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """Settings of the audit's own attacks."""

    images: int  # maximum number of images
    steps: int  # number of steps of PGD; the longer PGD attack has twice this number
    queries: int  # query budget of Square
    draws: int  # number of random perturbations
    neighbours: int  # number of training images of other classes to move towards
    transfer_steps: int = 10
    ddn_steps: int = 20
    share: float  # share of the images used for figures of gradients and distances
    every_budget: bool  # False: audit only the budget with robust accuracy nearest to half the clean accuracy


PASSES: Final = 200  # maximum number of passes per image of the default audit, asserted by a test

#: Images that become misclassified early need only a fraction of the maximum.
DEFAULT: Final = Level(images=200, steps=10, queries=25, draws=2, neighbours=8, share=1 / 8, every_budget=False)
FULL: Final = Level(images=1000, steps=100, queries=1000, draws=10, neighbours=100, share=1 / 4, every_budget=True)

LEVELS: Final = {"default": DEFAULT, "full": FULL}
