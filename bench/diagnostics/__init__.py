"""Diagnostics of a trained model: latents, gradients and distances to adversarial images."""
