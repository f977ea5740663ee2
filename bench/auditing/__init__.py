"""What speaks against an accuracy: findings about the model under attack, and what its gradients look like."""
