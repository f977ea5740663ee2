"""What the harness says about chance: pure functions of arrays, computed by statsmodels and scipy.

No file here knows of models, cells or folders. Shares and differences are fractions; whoever prints makes percent.
"""
