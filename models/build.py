"""Build a classifier from the names of its components, with initial weights drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench.core.seeds import derive_seed
from bench.core.specs import ModelSpec, VariantSpec
from bench.models.activations import replace_relu
from bench.models.backbones import Layout, build_backbone
from bench.models.classifier import Classifier, Normalize
from bench.models.heads import HEADS
from bench.models.initial_weights import reset_as_authors
from bench.models.losses import CRITERIA
from bench.models.outputs import OUTPUTS
from bench.models.spectral_norm import normalize_spectrally


@dataclass(frozen=True)
class BuiltModel:
    """A classifier and the properties that are reported in its row."""

    classifier: Classifier
    img_size: int  # side of the images inside the backbone, after resizing
    stem: str  # "native" or "small"
    latent_dim: int
    param_count: int  # trainable parameters


def build_classifier(
    model: ModelSpec,
    variant: VariantSpec,
    *,
    image_size: int,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    activation: str | None = None,
    init: Literal["timm", "authors"] = "timm",
    checkpoint_path: Path | None = None,
    layout: Layout | None = None,
) -> BuiltModel:
    """Build ``model`` with the head and the output layer of ``variant`` for square images of side ``image_size``.

    ``activation`` replaces every ReLU of the backbone. With ``init="authors"``, a backbone with random weights gets
    those of :func:`bench.models.initial_weights.reset_as_authors`; loaded weights are kept. ``layout`` is given for a
    stored network. Equal arguments give equal weights. Torch's global random generator is not changed. Raises
    BenchError for an unknown name and for an architecture that cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "init") % 2**63)
        backbone = build_backbone(
            model.name,
            image_size=image_size,
            num_classes=num_classes,
            pretrained=model.pretrained,
            checkpoint_path=checkpoint_path,
            stem=model.stem,
            layout=layout,
        )
        if init == "authors" and not model.pretrained and checkpoint_path is None:
            reset_as_authors(backbone.module)
        latent_dim = backbone.num_features if variant.latent_dim is None else variant.latent_dim
        head = HEADS.get(variant.head).build(backbone.num_features, latent_dim)
        output = _output(variant, latent_dim, num_classes, backbone.classifier)
        if variant.spectral_norm:
            for part in (backbone.module, head, output):
                normalize_spectrally(part)
    if activation is not None:
        replace_relu(backbone.module, activation)
    classifier = Classifier(Normalize(mean, std), backbone.module, head, output)
    count = sum(p.numel() for p in classifier.parameters() if p.requires_grad)
    return BuiltModel(classifier, backbone.img_size, backbone.stem, latent_dim, count)


def _output(variant: VariantSpec, latent_dim: int, num_classes: int, loaded: nn.Linear | None) -> nn.Module:
    """Return the classifier of the loaded weights if the variant keeps the network unchanged, else a new layer."""
    kind = CRITERIA.get(variant.criterion).output
    if kind == "linear" and variant.head == "none" and loaded is not None:
        return loaded
    return OUTPUTS.get(kind).build(latent_dim, num_classes)
