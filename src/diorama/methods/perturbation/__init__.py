"""Inputs changed on purpose."""
