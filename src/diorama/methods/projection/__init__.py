"""Projections of high-dimensional points to two or three dimensions. One projection a file."""
