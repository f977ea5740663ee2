"""Numbers that others published, as data that comes with the package."""
