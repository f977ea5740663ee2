"""Resolve names to specs, make a plan, and find its pending cells."""
