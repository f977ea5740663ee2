"""A run beside published numbers: what may be compared, in which place, and in the forms of others."""
