"""The engine that runs a search: batches of queries, query budgets, randomness per sample."""
