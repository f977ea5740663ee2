"""Utilities of the running process: console, progress, files, plug-ins, environment and global state of PyTorch."""
