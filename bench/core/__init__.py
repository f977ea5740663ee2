"""What models, attacks and the harness agree on: standard library only, no torch."""
