"""collapse-bench: decides whether a training-time idea makes image classifiers really robust."""
