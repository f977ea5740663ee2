"""Train the model of a TrainSpec, and load it again."""
