"""Check a model and its gradients in every evaluation."""

from bench.runtime.versions import TORCH_FAMILY, check_versions

check_versions(*TORCH_FAMILY)
