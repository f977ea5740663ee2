"""Figures. Only what draws imports this package: matplotlib is slow to load."""
