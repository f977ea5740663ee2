"""Compute tables from stored cells: leaderboard, comparison, corruptions and distances. Does not import torch."""
