"""Networks that were trained elsewhere: their files, their preprocessing, and the probe of both."""
