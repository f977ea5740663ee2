"""Channels-last: all weights with four dimensions, and no failure for others."""

from __future__ import annotations

import torch
from torch import nn

from bench.models.memory_format import to_channels_last


def test_four_dimensions_are_converted_beside_five() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(2, 2, 3), nn.Linear(4, 2))
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert to_channels_last(model) is model
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous()
    assert all(torch.equal(expected[name], tensor) for name, tensor in model.state_dict().items())
