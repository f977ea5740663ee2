"""Evaluate cells: attack, verify, record, and verify stored cells again."""
