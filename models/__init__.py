"""Components of a training: backbones, heads, penalties, schedules and the variants made of them.

Importing this package builds nothing and imports no torch.
"""
