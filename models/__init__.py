"""Components of a training (backbones, heads, penalties, schedules) and variants, which combine them.

Importing this package does not import torch.
"""
