"""Train, store and load the model of a TrainSpec."""
