"""A plain training loop for the demos; knows nothing of recording."""
