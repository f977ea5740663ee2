"""Attacks computed by independent libraries: the reference of tests and measurements, and an option of the user."""
