"""Inputs and measurements of one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.attacks.registry import AttackEntry
from bench.core.specs import Encoding
from bench.data.tensors import Images
from bench.evaluation.adversarials import AdversarialBatch, Adversarials
from bench.evaluation.fast_model import SearchModels
from bench.evaluation.journal import CellJournal
from bench.results.per_image import Sample


@dataclass
class Outcomes:
    """Outcomes per image of a cell. All tensors are (N,) on the CPU."""

    clean_pred: Tensor
    adv_pred: Tensor
    distance: Tensor  # float64; NaN if the image remains correctly classified
    kept: list[AdversarialBatch] = field(default_factory=list)  # adversarial images by batch; empty if not stored
    adversarials: Adversarials | None = None  # the same images as one file; None if not stored

    @classmethod
    def unattacked(cls, clean_pred: Tensor, labels: Tensor) -> Outcomes:
        """Return the outcomes before any attack. Images that are misclassified clean have distance 0."""
        distance = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        distance[clean_pred != labels] = 0.0
        return cls(clean_pred, clean_pred.clone(), distance)


@dataclass(frozen=True)
class CellInput:
    """Inputs of a cell besides its spec."""

    model: nn.Module  # frozen, on ``device``
    weights_sha: str
    images: Images
    n_test: int
    official: bool
    num_classes: int
    device: torch.device
    entry: AttackEntry | None  # None for the clean cell
    misclassified: Mapping[str, Sample] = field(default_factory=dict)  # outcomes under filtering attacks, by id
    auto_batch: bool = False  # halve the batch size after an out-of-memory error
    save_adversarials: Encoding = "none"
    search_models: SearchModels | None = None  # None: search on the model under test
    journal: CellJournal = field(default_factory=CellJournal)  # by default without files
