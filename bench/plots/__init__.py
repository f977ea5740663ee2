"""Figures. Import this package only for drawing, because matplotlib is slow to import."""
