"""Results folder, and rules for stored results. Does not import torch."""
