"""The one place that looks inside a network: capture, layers, structure, targets, edits, statistics."""
