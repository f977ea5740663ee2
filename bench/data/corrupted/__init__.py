"""Corrupted test images as files: generated here and cached, or published ones."""
