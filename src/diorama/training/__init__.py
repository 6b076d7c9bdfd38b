"""A plain training loop for the demos and the playground; knows nothing of recording."""
