"""Train, store and load the model of a TrainSpec."""

from bench.runtime.versions import TORCH_FAMILY, check_versions

check_versions(*TORCH_FAMILY)
