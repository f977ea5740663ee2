"""Externally trained networks: files, preprocessing and identity."""
