"""Norm balls, the box of images and hyperplanes: lengths, directions, projections and draws."""
