"""Corrupted test images as files: made here once and kept, or those that were published."""
