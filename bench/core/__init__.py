"""Definitions shared by models, attacks and the harness: standard library only, no torch."""
