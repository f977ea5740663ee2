"""Externally trained networks: files, preprocessing and identity."""

from bench.runtime.versions import TORCH_FAMILY, check_versions

check_versions(*TORCH_FAMILY)
