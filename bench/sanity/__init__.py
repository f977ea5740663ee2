"""Checks of a model and its gradients that every evaluation makes."""
