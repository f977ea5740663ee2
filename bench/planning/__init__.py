"""From names to specs, and which cells of a plan are still to do."""
