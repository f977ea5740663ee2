"""Regression gate: compare the per-image outcomes of a run with those of a baseline file. No torch."""
