"""Resolve names to specs, make the plan of a run, and find pending cells."""
