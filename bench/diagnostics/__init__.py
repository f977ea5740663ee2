"""What the latents, the gradients and the distances of a trained model look like: measured, not recorded."""
