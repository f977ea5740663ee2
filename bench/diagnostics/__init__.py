"""Diagnostics of a trained model: its latents, its gradients and its distances. Nothing here stores the results."""
