"""What the sub-commands do. Imported only when one of them runs."""
