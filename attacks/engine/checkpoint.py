"""Save the state of a running search, so that a process that is killed or stopped can continue it exactly.

An attack is one or more searches in a fixed order (stages of an ensemble, batches). A :class:`Checkpoint` numbers them.
A search that finished before the interruption returns its stored result. An interrupted search continues with the
saved states of all its samples, hence in the same batches, with the same results and the same number of passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from bench.attacks.engine.fast_model import FastModel


@dataclass(frozen=True)
class Saved:
    """Tensors and JSON values of a search: its result if it is ``finished``, its state otherwise."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False


class Checkpoint(Protocol):
    """Storage of the searches of one attack."""

    def begin(self) -> Saved | None:
        """Begin the next search. Return its stored result or state; None if nothing is stored."""

    def reject(self) -> None:
        """Discard what :meth:`begin` has returned, because it does not fit the search."""

    def is_due(self) -> bool:
        """Return whether the state should be saved now."""

    def save(self, saved: Saved) -> None:
        """Save the state of the current search. Raises Stopped if a stop was requested."""

    def finish(self, saved: Saved) -> None:
        """Store the result of the current search. Raises Stopped if a stop was requested."""


def checkpoint_of(model: nn.Module) -> Checkpoint | None:
    """Return the checkpoint that the harness has passed with the model; None without one."""
    return model.checkpoint if isinstance(model, FastModel) else None
