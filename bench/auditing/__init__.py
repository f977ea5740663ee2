"""Findings that cast doubt on a robust accuracy, and figures of the model's input gradients."""
