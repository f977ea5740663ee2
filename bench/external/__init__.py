"""Networks that were trained elsewhere: preprocessing, class order, and the probe that checks both before a run."""
