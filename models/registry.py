"""Names of models: the architectures of timm and models registered by users.

Importing this module imports neither timm nor torch.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, unknown_name
from bench.core.registry import Registry
from bench.runtime.versions import TORCH_FAMILY, check_versions

if TYPE_CHECKING:
    from torch import nn

HINT = "See 'bench list models'."


@dataclass(frozen=True)
class ModelEntry:
    """A backbone registered by a user.

    ``build(image_size=S)`` returns a module that maps normalised images (N, 3, S, S), float, to features (N, d).
    """

    summary: str
    source: str  # reference to a paper or code
    build: Callable[..., nn.Module]


MODELS: Registry[ModelEntry] = Registry("model")


def register_model(name: str, entry: ModelEntry, origin: str) -> None:
    """Register a user's backbone. Raises BenchError, naming both origins, if timm or another plug-in has the name."""
    if _in_timm(name):
        raise BenchError(f"model {name!r} is registered twice: by timm and by {origin}; rename the latter.")
    MODELS.register(name, entry, origin=origin)


def check_model_name(name: str) -> None:
    """Raise BenchError, suggesting similar names, unless timm or a plug-in has a model called ``name``."""
    if name not in MODELS and not _in_timm(name):
        raise unknown_name("model", name, _all_names(), hint=HINT)


def expand_models(pattern: str) -> list[str]:
    """Return the names that match a shell wildcard, sorted. Raises BenchError if none does."""
    names = sorted(fnmatch.filter(_all_names(), pattern))
    if not names:
        raise BenchError(f"no model matches {pattern!r}. {HINT}")
    return names


def model_summary(name: str) -> tuple[str, str]:
    """Return a line about the model ``name`` and a line about its source, for listings."""
    if name in MODELS:
        return MODELS.get(name).summary, MODELS.get(name).source
    models = _timm().models
    config = models.get_pretrained_cfg(name, allow_unregistered=True)
    side = config.input_size[-1] if config and config.input_size else "?"
    return f"made for {side} px", f"timm, {models.model_entrypoint(name).__module__}"


def pretrained_moments(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation for normalising the inputs of timm's weights called ``name``.

    If timm declares none, return the moments of ImageNet, as timm does.
    """
    models = _timm().models
    config = models.get_pretrained_cfg(name) or models.PretrainedCfg()
    return tuple(map(float, config.mean)), tuple(map(float, config.std))


def _all_names() -> list[str]:
    return [*_timm().list_models(), *MODELS]


def _in_timm(name: str) -> bool:
    """Return whether timm has an architecture, or a set of weights such as ``resnet18.a1_in1k``, of this name."""
    timm = _timm()
    return name in timm.list_models() or ("." in name and name in timm.list_models(include_tags=True))


def _timm() -> Any:
    """Import timm. Raises BenchError if the installed torch, torchvision and timm do not fit each other."""
    check_versions(*TORCH_FAMILY)
    import timm

    return timm
