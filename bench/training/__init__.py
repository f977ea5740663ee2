"""Train the model of a TrainSpec, store it and load it."""
