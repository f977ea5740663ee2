"""Common corruptions (Hendrycks and Dietterich 2019, arXiv 1903.12261), with constants for three image sizes."""
