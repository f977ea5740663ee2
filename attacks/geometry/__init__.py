"""Norm balls, the box [0, 1] and hyperplanes: lengths, directions, projections and random draws."""
