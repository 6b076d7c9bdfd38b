"""Demos: each one file with data, a model and a training to watch, all from data that ships with Python packages or is
made here."""

from ._demo import Demo

__all__ = ["Demo"]
