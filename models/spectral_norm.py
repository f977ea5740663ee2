"""Spectral normalisation of a network: each weight matrix is divided by its largest singular value.

Source: Miyato et al. 2018, arXiv 1802.05957. The weight of a convolution is a matrix with one row per output channel.
The singular value is estimated by the power method, one iteration per forward pass in training mode (PyTorch's
``torch.nn.utils.parametrizations.spectral_norm``). In evaluation mode, the vectors of the last training step are used.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SETTLING = 15  # iterations after the weights have been replaced, as many as PyTorch runs for new weights


def normalize_spectrally(model: nn.Module) -> None:
    """Divide the weights of every convolution and linear layer by their largest singular value, in place.

    The first vectors of the power method are drawn from torch's global generator.
    """
    for module in list(model.modules()):
        if isinstance(module, LAYERS):
            spectral_norm(module)


def settle_spectral_norms(model: nn.Module) -> None:
    """Update the vectors of the power method after the weights have been replaced, for example by an average.

    Nothing changes in a model without spectral normalisation. The mode of the model does not change.
    """
    for module in model.modules():
        if isinstance(module, LAYERS) and parametrize.is_parametrized(module, "weight"):
            parametrizations: nn.Module = module.get_submodule("parametrizations")
            was_training = parametrizations.training
            parametrizations.train()
            with torch.no_grad():
                for _ in range(SETTLING):
                    module.weight  # noqa: B018 - one iteration of the power method
            parametrizations.train(was_training)
