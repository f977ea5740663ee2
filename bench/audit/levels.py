"""Levels of an audit: the default, which comes with every run, and the full one that a reviewer may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

LevelName = Literal["default", "full"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """The audit's own attacks. ``steps`` are those of one walk of PGD; the longer one has twice as many."""

    images: int  # of the suite's at most
    steps: int
    queries: int  # of Square
    draws: int  # of noise
    neighbours: int  # training images of other classes
    transfer_steps: int = 10
    ddn_steps: int = 20
    share: float  # of these images, for the figures of gradients and distances
    every_budget: bool  # else the one whose robust accuracy is nearest to half the clean one


PASSES: Final = 200  # an image at most in the default audit, both directions counted; a test asserts it

#: What breaks at once takes a fraction of the bound.
DEFAULT: Final = Level(images=200, steps=10, queries=25, draws=2, neighbours=8, share=1 / 8, every_budget=False)
FULL: Final = Level(images=1000, steps=100, queries=1000, draws=10, neighbours=100, share=1 / 4, every_budget=True)

LEVELS: Final = {"default": DEFAULT, "full": FULL}
