"""Data sets as [0, 1] NCHW images with stable sample ids and a content hash."""
