"""Initial weights of a backbone as in the code of the authors of latent point collapse.

The authors' residual networks (arXiv 2310.08224, code of November 2024 and of November 2025) keep the defaults of torch
for all layers. timm's residual networks differ in two respects:

=============== ================================================ ===========================================
layer           timm                                             torch, as the authors
=============== ================================================ ===========================================
convolution     normal, standard deviation √(2/fan_out)          uniform on ±1/√fan_in: √(1/(3·fan_in))
last batch norm weight 0: every block starts as its shortcut     weight 1
of a block
=============== ================================================ ===========================================

For a convolution with equal numbers of input and output channels, timm's weights are √6 = 2.4 times as wide. Linear
layers are the same. In training mode, the batch norm after a convolution cancels the width of its weights, but the
width sets the relative size of the optimiser's steps.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def reset_as_authors(module: nn.Module) -> None:
    """Draw every convolution inside ``module`` again from torch's default, and set every batch norm to the identity.

    The weights are drawn from torch's global generator. Other layers are not changed.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | _BatchNorm):
            layer.reset_parameters()
