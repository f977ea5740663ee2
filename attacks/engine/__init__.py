"""The search engine: batches of queries, query budgets, randomness per sample."""
