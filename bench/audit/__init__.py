"""Audit robust accuracies by additional attacks and comparisons."""
