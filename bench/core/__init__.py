"""Definitions that models, attacks and the harness share: standard library only, no torch."""
