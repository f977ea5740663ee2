"""Figures. Import this package only to draw, because matplotlib is slow to import."""
