"""Evaluate cells: attack, verify, record, and verify stored cells again."""

from bench.runtime.versions import TORCH_FAMILY, check_versions

check_versions(*TORCH_FAMILY)
