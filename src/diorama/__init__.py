"""diorama: see inside neural networks."""
