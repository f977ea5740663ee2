"""Regression gate: compare the per-image outcomes of a run with the outcomes in a baseline file. No torch."""
