"""Confidence intervals, hypothesis tests and power: pure functions of arrays, computed by statsmodels and scipy.

No file here depends on models, cells or folders. Shares and differences are fractions; callers convert to percent.
"""
