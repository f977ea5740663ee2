"""The results folder, and the rules on stored results. No torch."""
