"""From stored cells to tables: the board, the comparison, corruptions and distances. No torch."""
