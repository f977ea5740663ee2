"""The regression gate: what a run's images say beside those of a baseline file. No torch."""
