"""Published tables and own rows under one protocol, and exports to other benchmarks."""
