"""Benchmarks: ratios against the limits and the peers."""
