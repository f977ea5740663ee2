"""Results folder and the rules that apply to stored results. Does not import torch."""
