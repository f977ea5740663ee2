"""Compare own rows with published tables under one protocol, and export to other benchmarks."""
