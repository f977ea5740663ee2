"""Check a model and its gradients in every evaluation."""
