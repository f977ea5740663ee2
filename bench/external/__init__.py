"""Networks that were trained elsewhere: their files, preprocessing and identity."""
