"""Implementations of the sub-commands. Imported only when one of them runs."""
