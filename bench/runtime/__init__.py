"""Services of the running process: console, progress, files, plug-ins, environment and PyTorch's global state."""
