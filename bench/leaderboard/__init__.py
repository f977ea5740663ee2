"""From stored cells to tables: leaderboard, comparison, corruptions and distances. No torch."""
