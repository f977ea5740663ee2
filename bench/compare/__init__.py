"""Compare own rows with published tables of the same protocol, and export rows to other benchmarks."""
