"""Confidence intervals, hypothesis tests and power analysis. Pure functions of arrays, based on statsmodels and scipy.

The modules do not depend on models, cells or files. Shares and differences are fractions. Callers convert to percent.
"""
