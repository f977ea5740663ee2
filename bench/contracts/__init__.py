"""Contract checks for registered attacks, variants, models, data sets, corruptions and diagnostics.

Each module checks one kind of entry, by name. The tests run the checks for all built-in entries.
``bench check-plugin`` runs them for the entries of a plug-in.
"""
