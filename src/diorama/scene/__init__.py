"""A scene: a model at a moment, its probe set, its kinds of input and output, and the edits one looks at it with."""

from .scene import Scene

__all__ = ["Scene"]
