"""Audits of robust accuracies: further attacks and comparisons that may cast doubt on them."""
