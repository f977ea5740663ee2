"""Count the forward and backward passes of an attack through a model, one per image."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class CountingModel(nn.Module):
    """Model wrapper that counts passes. ``on_forward`` is called with each batch size, to update a progress bar."""

    def __init__(self, model: nn.Module, on_forward: Callable[[int], None] = lambda count: None) -> None:
        super().__init__()
        self.model = model
        self.forwards = 0
        self.backwards = 0
        self.on_forward = on_forward

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the model, and count the passes."""
        logits: Tensor = self.model(inputs.clone())  # a model that writes into its input must not move the attack
        self.forwards += len(inputs)
        self.on_forward(len(inputs))
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
