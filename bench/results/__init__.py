"""Results folder, and rules for stored results. Does not import torch."""

from bench.runtime.versions import check_versions

check_versions("numpy", "pandas", "pydantic", "scipy", "statsmodels")
